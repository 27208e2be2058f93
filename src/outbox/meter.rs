//! Metrics of an outbox.

use crate::{
    outbox::OutboxStatus,
    telemetry::instrument::{self, Gauge, gauge, gauge_in_seconds},
};

/// Shows what waits in an outbox.
#[derive(Debug)]
pub(crate) struct OutboxMeter {
    pending: Gauge,
    oldest: Gauge,
    set_aside: Gauge,
}

impl OutboxMeter {
    pub(crate) fn new(table: &str) -> Self {
        let outbox = [("outbox", table)];
        Self {
            pending: gauge(
                instrument::OUTBOX_PENDING,
                "Events that are committed and not published.",
                &outbox,
            ),
            oldest: gauge_in_seconds(
                instrument::OUTBOX_OLDEST,
                "How long the oldest of them has waited.",
                &outbox,
            ),
            set_aside: gauge(instrument::OUTBOX_SET_ASIDE, "Events that can never be published.", &outbox),
        }
    }

    pub(crate) fn shows(&self, status: &OutboxStatus) {
        self.pending.set(status.pending);
        self.oldest.set_seconds(status.oldest_pending.unwrap_or_default());
        self.set_aside.set(status.set_aside);
    }
}
