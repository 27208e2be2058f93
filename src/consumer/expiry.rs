//! Delays that end while an event is still in the stream.

use super::decide::{Ending, Step, Write};
use crate::ack_subject::AckSubject;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// No delay is made shorter than this, so that an event that cannot be dealt with does not come round and round.
const SHORTEST_DELAY: Duration = Duration::from_millis(100);
/// Asks for no delay that an event would not survive: half of what it has left at most, so that every attempt and its
/// dead letter come in time.
pub(super) fn capped(step: Step, max_age: Option<Duration>, clock: &ServerClock, reply: &str) -> Step {
    let cap = |delay: Duration| match max_age.zip(age(clock, reply)) {
        Some((max_age, age)) => delay.min((max_age.saturating_sub(age) / 2).max(SHORTEST_DELAY)),
        None => delay,
    };
    let cap_ending = |ending| match ending {
        Ending::Retried(delay) => Ending::Retried(cap(delay)),
        Ending::Postponed(delay) => Ending::Postponed(cap(delay)),
        other => other,
    };
    match step {
        Step::Write { what: Write::Release(ending), after } => {
            Step::Write { what: Write::Release(cap_ending(ending)), after }
        }
        Step::End(ending) => Step::End(cap_ending(ending)),
        other => other,
    }
}

/// How old a message is, by the clock of the server that stored it; `None` while nobody has looked at that.
fn age(clock: &ServerClock, reply: &str) -> Option<Duration> {
    // One of the future is new.
    Some(clock.now()?.saturating_sub(AckSubject::parse(reply)?.stored_at))
}

/// The clock of the server, as far as it is known here. What this machine takes the time for does not matter.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<Reading>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Since 1970.
    time: Duration,
    at: Instant,
}

impl ServerClock {
    /// Notes what the server took the time for a moment ago, since 1970.
    pub(super) fn set(&self, time: Duration) {
        let reading = Reading { time, at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    fn now(&self) -> Option<Duration> {
        let reading = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(reading.time + reading.at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// What the server takes the time for. Not even near to what this machine does.
    const NOW: Duration = Duration::from_secs(1_000_000_000);

    fn clock() -> ServerClock {
        let clock = ServerClock::default();
        clock.set(NOW);
        clock
    }

    fn reply(prefix: &str, age: Duration) -> String {
        format!("$JS.ACK.{prefix}STRATT_EVENTS.c.1.5.5.{}.0", NOW.checked_sub(age).unwrap().as_nanos())
    }

    fn after(delay: Duration, max_age: Option<Duration>, clock: &ServerClock, reply: &str) -> Duration {
        match capped(Step::End(Ending::Retried(delay)), max_age, clock, reply) {
            Step::End(Ending::Retried(delay)) => delay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_delay_outlasts_half_of_what_is_left() {
        let clock = clock();
        for prefix in ["", "_.AccountHash."] {
            let reply = reply(prefix, 59 * MINUTE);
            let left = after(HOUR, Some(HOUR), &clock, &reply);
            assert!(left <= MINUTE / 2 && left > MINUTE / 3, "{left:?}");
            assert_eq!(after(MINUTE / 4, Some(HOUR), &clock, &reply), MINUTE / 4);
            assert_eq!(after(HOUR, Some(MINUTE), &clock, &reply), SHORTEST_DELAY);
            assert_eq!(after(HOUR, None, &clock, &reply), HOUR);
        }
        assert_eq!(after(HOUR, Some(MINUTE), &clock, "not an ack subject"), HOUR);
        let release = Step::Write { what: Write::Release(Ending::Postponed(HOUR)), after: MINUTE };
        let capped = capped(release, Some(HOUR), &clock, &reply("", 59 * MINUTE));
        assert!(
            matches!(capped, Step::Write { what: Write::Release(Ending::Postponed(delay)), .. } if delay < MINUTE)
        );
    }

    #[test]
    fn the_age_is_that_of_the_servers_clock() {
        // By the clock of this machine the event is years old, and would be gone.
        assert_eq!(after(MINUTE, Some(HOUR), &clock(), &reply("", Duration::ZERO)), MINUTE);
        // While the server's clock is not known, nobody guesses.
        assert_eq!(after(HOUR, Some(MINUTE), &ServerClock::default(), &reply("", HOUR)), HOUR);
    }
}
