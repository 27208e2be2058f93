//! Instruments that count nothing.

use crate::telemetry::instrument::Labels;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Counter;

#[derive(Debug)]
pub(crate) struct Gauge;

#[derive(Debug)]
pub(crate) struct Histogram;

pub(crate) fn counter(_: &'static str, _: &'static str, _: Labels<'_>) -> Counter {
    Counter
}

pub(crate) fn gauge(_: &'static str, _: &'static str, _: Labels<'_>) -> Gauge {
    Gauge
}

pub(crate) fn gauge_in_seconds(_: &'static str, _: &'static str, _: Labels<'_>) -> Gauge {
    Gauge
}

pub(crate) fn histogram(_: &'static str, _: &'static str, _: Labels<'_>) -> Histogram {
    Histogram
}

#[expect(clippy::unused_self, reason = "the same calls as with the feature")]
impl Counter {
    pub(crate) fn add(&self, _: u64) {}
}

#[expect(clippy::unused_self, reason = "the same calls as with the feature")]
impl Gauge {
    pub(crate) fn set(&self, _: u64) {}

    pub(crate) fn set_seconds(&self, _: Duration) {}
}

#[expect(clippy::unused_self, reason = "the same calls as with the feature")]
impl Histogram {
    pub(crate) fn record(&self, _: Duration) {}
}
