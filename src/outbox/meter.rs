//! Metrics of an outbox.

use crate::{
    outbox::OutboxStatus,
    telemetry::instrument::{self, Gauge, gauge, gauge_in_seconds},
};

/// The gauges of an outbox.
#[derive(Debug)]
pub(crate) struct OutboxMeter {
    pending: Gauge,
    oldest: Gauge,
    quarantined: Gauge,
}

impl OutboxMeter {
    pub(crate) fn new(table: &str) -> Self {
        let outbox = [("outbox", table)];
        Self {
            pending: gauge(
                instrument::OUTBOX_PENDING,
                "Events that are committed and not yet published.",
                &outbox,
            ),
            oldest: gauge_in_seconds(instrument::OUTBOX_OLDEST, "Age of the oldest pending event.", &outbox),
            quarantined: gauge(
                instrument::OUTBOX_QUARANTINED,
                "Events that can never be published.",
                &outbox,
            ),
        }
    }

    pub(crate) fn shows(&self, status: &OutboxStatus) {
        self.pending.set(status.pending);
        self.oldest.set_seconds(status.oldest_pending.unwrap_or_default());
        self.quarantined.set(status.quarantined);
    }
}
