//! Nothing is counted.

use crate::{
    consumer::ConsumeSummary,
    dead_letter::DeadLetterReason,
    event::EventType,
    publish::{PublishError, PublishReceipt},
};
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(crate) struct PublisherMeter;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun;

#[derive(Debug)]
pub(crate) struct ConsumerMeter;

impl Begun {
    pub(crate) fn now(_: &str) -> Self {
        Self
    }
}

pub(crate) fn dead_lettered(_: &str, _: DeadLetterReason) {}

#[expect(clippy::unused_self, reason = "the same calls as where something is counted")]
impl PublisherMeter {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn ended(&self, _: Begun, _: &Result<PublishReceipt, PublishError>) {}

    pub(crate) fn batch_ended<'a>(
        &self,
        _: Begun,
        _: impl Iterator<Item = &'a str>,
        _: &Result<Vec<PublishReceipt>, PublishError>,
    ) {
    }
}

#[expect(clippy::unused_self, reason = "the same calls as where something is counted")]
impl ConsumerMeter {
    pub(crate) fn new(_: &str, _: impl Iterator<Item = EventType>) -> Self {
        Self
    }

    pub(crate) fn counted(&self, _: &ConsumeSummary, _: &ConsumeSummary) {}

    pub(crate) fn holds(&self, _: usize, _: bool) {}

    pub(crate) fn retried(&self) {}

    pub(crate) fn pending(&self, _: u64) {}

    pub(crate) fn handled(&self, _: EventType, _: Instant, _: bool) {}
}
