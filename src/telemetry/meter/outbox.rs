//! What an outbox is measured by.

use super::names::{self, gauge, number};
use crate::outbox::OutboxStatus;
use metrics::{Gauge, Unit};

/// The meter of an outbox.
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
                names::OUTBOX_PENDING,
                Unit::Count,
                "Events that are committed and not published.",
                &outbox,
            ),
            oldest: gauge(
                names::OUTBOX_OLDEST,
                Unit::Seconds,
                "How long the oldest of them has waited.",
                &outbox,
            ),
            set_aside: gauge(
                names::OUTBOX_SET_ASIDE,
                Unit::Count,
                "Events that can never be published.",
                &outbox,
            ),
        }
    }

    pub(crate) fn shows(&self, status: &OutboxStatus) {
        self.pending.set(number(status.pending));
        self.oldest.set(status.oldest_pending.unwrap_or_default());
        self.set_aside.set(number(status.set_aside));
    }
}
