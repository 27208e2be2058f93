//! The time of the broker, independent of the clock of this process.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::time::Instant;

/// Interval of the measurement, in which clocks drift apart by less than a millisecond. It is repeated since the
/// broker's clock may be set, or another server with its own clock may become the leader.
const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// The time of the broker: the last measurement plus the time since then.
///
/// The monotonic clock counts from the measurement, so neither the wall clock of this machine nor setting it matters.
#[derive(Debug)]
pub(super) struct ServerTime {
    state: Mutex<State>,
    /// The difference to the clock of this machine beyond which a warning is logged.
    margin: Duration,
}

#[derive(Debug)]
struct State {
    reported: OffsetDateTime,
    at: Instant,
    next: Instant,
    is_logged: bool,
}

/// The time by the clock of this machine before and after a request to the broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) before: OffsetDateTime,
    pub(super) after: OffsetDateTime,
}

impl ServerTime {
    pub(super) fn new(reported: OffsetDateTime, asked: Asked, margin: Duration) -> Self {
        let now = Instant::now();
        let state = State { reported, at: now, next: now, is_logged: false };
        let time = Self { state: Mutex::new(state), margin };
        time.measured(reported, asked);
        time
    }

    /// Records the time from an answer of the broker. It is slightly outdated on arrival, so the time is never
    /// overestimated, and no lease expires early.
    pub(super) fn measured(&self, reported: OffsetDateTime, asked: Asked) {
        let mut state = self.lock();
        let now = Instant::now();
        (state.reported, state.at, state.next) = (reported, now, now + MEASURE_EVERY);
        let (ahead, behind) = (asked.before - reported, reported - asked.after);
        let is_off = ahead.max(behind) > self.margin;
        if is_off && !state.is_logged {
            tracing::warn!(
                ahead_seconds = ahead.whole_seconds(),
                "clock of this process differs from that of the broker; leases in the bucket follow the broker's"
            );
        }
        state.is_logged = is_off;
    }

    /// Returns the current time of the broker, by the last measurement.
    pub(super) fn now(&self) -> OffsetDateTime {
        let state = self.lock();
        state.reported + state.at.elapsed()
    }

    /// Returns whether it is time for a measurement, to one caller for each interval.
    pub(super) fn is_due(&self) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let is_due = now >= state.next;
        if is_due {
            state.next = now + MEASURE_EVERY;
        }
        is_due
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: OffsetDateTime = time::macros::datetime!(2026-03-31 12:00 UTC);

    fn asked(at: OffsetDateTime) -> Asked {
        Asked { before: at, after: at + Duration::from_millis(5) }
    }

    #[tokio::test(start_paused = true)]
    async fn time_continues_from_the_measurement_despite_a_wrong_clock() {
        let time = ServerTime::new(NOON, asked(NOON + time::Duration::days(1)), Duration::from_secs(2));
        assert_eq!(time.now(), NOON);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(time.now(), NOON + Duration::from_secs(7));
        // The broker's clock was set back.
        time.measured(NOON, asked(NOON));
        assert_eq!(time.now(), NOON);
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_is_asked_once_for_each_interval() {
        let time = ServerTime::new(NOON, asked(NOON), Duration::from_secs(2));
        assert!(!time.is_due());
        tokio::time::advance(MEASURE_EVERY).await;
        assert!(time.is_due());
        assert!(!time.is_due());
    }
}
