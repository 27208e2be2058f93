//! The time of the broker, for a process whose own clock may be wrong.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::time::Instant;

/// How long a measurement is good for: in that time clocks drift apart by less than a millisecond. The broker's may be set
/// to another time, or another server with a clock of its own may lead.
const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// The time of the broker as it was told, and what has passed since.
///
/// It is counted on from there by the monotonic clock: it makes no difference what time this machine believes it is, nor
/// when that is set.
#[derive(Debug)]
pub(super) struct ServerTime {
    state: Mutex<State>,
    /// By how much this machine's clock may differ before that is logged.
    margin: Duration,
}

#[derive(Debug)]
struct State {
    told: OffsetDateTime,
    at: Instant,
    next: Instant,
    is_logged: bool,
}

/// What the clock of this machine said before and after the broker was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) before: OffsetDateTime,
    pub(super) after: OffsetDateTime,
}

impl ServerTime {
    pub(super) fn new(told: OffsetDateTime, asked: Asked, margin: Duration) -> Self {
        let now = Instant::now();
        let state = State { told, at: now, next: now, is_logged: false };
        let time = Self { state: Mutex::new(state), margin };
        time.measured(told, asked);
        time
    }

    /// Takes the broker's time, which it has just told. It was on its way since, so that time is never taken for later than
    /// it is, and no lease for over that is not.
    pub(super) fn measured(&self, told: OffsetDateTime, asked: Asked) {
        let mut state = self.lock();
        let now = Instant::now();
        (state.told, state.at, state.next) = (told, now, now + MEASURE_EVERY);
        let (ahead, behind) = (asked.before - told, told - asked.after);
        let is_off = ahead.max(behind) > self.margin;
        if is_off && !state.is_logged {
            tracing::warn!(
                ahead_seconds = ahead.whole_seconds(),
                "clock of this process differs from that of the broker; leases in the bucket go by the broker's"
            );
        }
        state.is_logged = is_off;
    }

    /// Returns the time of the broker, as far as it is known.
    pub(super) fn now(&self) -> OffsetDateTime {
        let state = self.lock();
        state.told + state.at.elapsed()
    }

    /// Returns whether it is time to ask the broker again; whoever is told so asks, and nobody else until the next time.
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
    async fn time_goes_on_from_what_was_told_whatever_this_machine_believes() {
        let time = ServerTime::new(NOON, asked(NOON + time::Duration::days(1)), Duration::from_secs(2));
        assert_eq!(time.now(), NOON);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(time.now(), NOON + Duration::from_secs(7));
        // The broker's clock was set back.
        time.measured(NOON, asked(NOON));
        assert_eq!(time.now(), NOON);
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_is_asked_again_now_and_then_and_by_one() {
        let time = ServerTime::new(NOON, asked(NOON), Duration::from_secs(2));
        assert!(!time.is_due());
        tokio::time::advance(MEASURE_EVERY).await;
        assert!(time.is_due());
        assert!(!time.is_due());
    }
}
