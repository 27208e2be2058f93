//! How a consumer is doing, for those who are not part of its loop.

use super::{ConsumeSummary, process::Shared};
use crate::telemetry::ConsumerMeter;
use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

/// What is known of a consumer, brought up to date by its loop.
#[derive(Debug)]
pub(super) struct Vitals {
    pub(super) meter: ConsumerMeter,
    counts: Mutex<ConsumeSummary>,
}

impl Vitals {
    pub(super) fn new(meter: ConsumerMeter) -> Arc<Self> {
        Arc::new(Self { meter, counts: Mutex::default() })
    }

    /// Notes where the loop has come to.
    pub(super) fn note(&self, shared: &Shared, summary: &ConsumeSummary) {
        let counts = ConsumeSummary { expired: shared.expired.load(Ordering::Relaxed), ..*summary };
        self.meter.holds(shared.holds.len(), !shared.store_is_down.load(Ordering::Relaxed));
        let mut noted = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.meter.counted(&noted, &counts);
        *noted = counts;
    }

    pub(super) fn told(&self, pending: u64) {
        self.meter.pending(pending);
    }
}
