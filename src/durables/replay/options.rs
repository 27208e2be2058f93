//! The options of a replay.

use crate::contract::epoch::Epoch;
use std::time::Duration;
use time::OffsetDateTime;

/// The options of a [replay](crate::durables::Durables::replay).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    pub(super) from: OffsetDateTime,
    pub(super) until: Option<OffsetDateTime>,
    pub(super) epoch: Option<Epoch>,
    pub(super) interval: Duration,
}

impl ReplayOptions {
    /// Returns the options of a replay of what was stored since a time, in an epoch of its own, with one event in a
    /// millisecond at most.
    #[must_use]
    pub fn since(from: OffsetDateTime) -> Self {
        Self { from, until: None, epoch: None, interval: Duration::from_millis(1) }
    }

    /// Sets the time before which the events were stored; by default up to what was delivered when it begins.
    #[must_use]
    pub fn with_until(mut self, until: OffsetDateTime) -> Self {
        self.until = Some(until);
        self
    }

    /// Sets the epoch: that of a replay that is to be continued. What was handled in it is not handled again.
    #[must_use]
    pub fn with_epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Sets the least time between two events, so that the consumer is not flooded. Zero means without a pause.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}
