//! The options of redrives.

use std::time::Duration;

/// The options of a redrive: which of its checks are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedriveOptions {
    pub(super) takes_back: bool,
    pub(super) is_unchecked: bool,
}

impl RedriveOptions {
    /// Sets whether an event is redriven although newer events of its unit were stored since, which the consumer may
    /// have handled: it then handles an old event after newer ones. It is refused by default.
    #[must_use]
    pub fn with_older_than_newest(mut self, redrive: bool) -> Self {
        self.takes_back = redrive;
        self
    }

    /// Sets whether an event is redriven although it is not known that its consumer would receive it, such as one in
    /// another account. It is refused by default, since it may be lost.
    #[must_use]
    pub fn with_unchecked_consumer(mut self, redrive: bool) -> Self {
        self.is_unchecked = redrive;
        self
    }
}

/// The options of [`redrive_group`](crate::dead_letter::DeadLetters::redrive_group).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRedriveOptions {
    pub(super) interval: Duration,
    pub(super) canary_wait: Duration,
    pub(super) most_failed: u8,
    pub(super) redrives_again: bool,
}

impl Default for GroupRedriveOptions {
    /// Returns the defaults: one redrive in a millisecond at most, a minute for the canary, stop when more than 10 %
    /// fail again, and nothing twice.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(1),
            canary_wait: Duration::from_secs(60),
            most_failed: 10,
            redrives_again: false,
        }
    }
}

impl GroupRedriveOptions {
    /// Sets the least time between two redrives, so that the consumer is not flooded. Zero means without a pause.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the time within which the first event has to be handled.
    #[must_use]
    pub fn with_canary_wait(mut self, wait: Duration) -> Self {
        self.canary_wait = wait;
        self
    }

    /// Sets the share of redriven events, in percent, that may be dead-lettered again; it stops beyond that, once 20
    /// were redriven. With 100 it never does.
    #[must_use]
    pub fn with_most_failed(mut self, percent: u8) -> Self {
        self.most_failed = percent;
        self
    }

    /// Sets whether events that were redriven before, and were dead-lettered again, are redriven once more.
    #[must_use]
    pub fn with_redriven(mut self, redrive: bool) -> Self {
        self.redrives_again = redrive;
        self
    }
}
