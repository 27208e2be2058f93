//! The pace at which events are published again.

use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The shortest interval of the clock.
const SHORTEST_INTERVAL: Duration = Duration::from_nanos(1);

/// Returns ticks with at least this time between two; zero means without a pause. The first comes at once.
pub(crate) fn ticks(least: Duration) -> Interval {
    let mut ticks = interval(least.max(SHORTEST_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
