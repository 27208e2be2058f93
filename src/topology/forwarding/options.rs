//! The settings of a watch of forwarding.

use std::time::Duration;

/// The default bound. The longest that forwarding was seen to take by itself is 51 s, after all nodes were lost.
pub(super) const BOUND: Duration = Duration::from_secs(60);

/// The default bound with a durable source. The longest that it was seen to take by itself is 11 s.
pub(super) const DURABLE_BOUND: Duration = Duration::from_secs(20);

/// The settings of a [`ForwardingWatch`](crate::topology::ForwardingWatch).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardingOptions {
    pub(super) interval: Duration,
    pub(super) bound: Option<Duration>,
    pub(super) heals: bool,
}

impl Default for ForwardingOptions {
    /// Returns the defaults: a look every 10 s, a bound of 60 s, or 20 s with a durable source, and no healing.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), bound: None, heals: false }
    }
}

impl ForwardingOptions {
    /// Sets the time between two looks, 10 s by default and 100 ms at least. A look is four small requests, which cost
    /// the servers less than a millisecond.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }

    /// Sets the time after which forwarding that owes an event and makes no progress is stalled, 60 s by default
    /// and 20 s with a [durable source](crate::topology::Topology::with_durable_source).
    ///
    /// It takes up to 51 s by itself when all servers were lost, and up to 20 s when one was.
    #[must_use]
    pub fn with_bound(mut self, bound: Duration) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Sets whether the watch [heals](crate::EventBridge::heal_forwarding) a stall by itself, once; again only when
    /// that helped, and not within five minutes. Not by default.
    #[must_use]
    pub fn with_healing(mut self, heals: bool) -> Self {
        self.heals = heals;
        self
    }
}
