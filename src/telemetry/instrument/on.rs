//! Instruments that the recorder of the host reads.

use crate::telemetry::instrument::Labels;
use metrics::{Label, Unit};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Counter(metrics::Counter);
#[derive(Debug)]
pub(crate) struct Gauge(metrics::Gauge);
#[derive(Debug)]
pub(crate) struct Histogram(metrics::Histogram);

pub(crate) fn counter(name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
    metrics::describe_counter!(name, Unit::Count, help);
    Counter(metrics::counter!(name, owned(labels)))
}

pub(crate) fn gauge(name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
    metrics::describe_gauge!(name, Unit::Count, help);
    Gauge(metrics::gauge!(name, owned(labels)))
}

pub(crate) fn gauge_in_seconds(name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
    metrics::describe_gauge!(name, Unit::Seconds, help);
    Gauge(metrics::gauge!(name, owned(labels)))
}

/// Returns a histogram of durations, in seconds.
pub(crate) fn histogram(name: &'static str, help: &'static str, labels: Labels<'_>) -> Histogram {
    metrics::describe_histogram!(name, Unit::Seconds, help);
    Histogram(metrics::histogram!(name, owned(labels)))
}

fn owned(labels: Labels<'_>) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
}

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.increment(count);
    }
}

impl Gauge {
    /// Sets the gauge. Gauges are floating-point numbers, and these counts stay far below what such a number cannot
    /// hold.
    pub(crate) fn set(&self, count: u64) {
        self.0.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    pub(crate) fn set_seconds(&self, duration: Duration) {
        self.0.set(duration);
    }
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        self.0.record(duration);
    }
}
