//! The circuit breaker: tells a bad day of what a handler depends on from a bad event.
//!
//! A pure machine, one for each event type and process; `breaker/model.rs` drives it through all of its states. Times
//! are counted from the start of the consumer.

use crate::consumer::delivery::circuit_breaker::{BreakerCause, CircuitBreaker};
use std::time::Duration;

/// An event that was probed is not probed again for so many intervals, so that one bad event cannot keep the breaker
/// open.
const INTERVALS_APART: u32 = 3;
/// The number of events that wait and are redelivered in a second. The server prefers them to new ones, and those of
/// other types would get no turn if all that wait came back every few seconds.
const REDELIVERED_IN_A_SECOND: u64 = 1000;

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Breaker {
    settings: CircuitBreaker,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Closed {
        /// The failures since the last success.
        failures: u32,
        /// The events that failed, as far as their number counts.
        of: Vec<u64>,
    },
    Open(Open),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Open {
    cause: BreakerCause,
    since: Duration,
    /// No probe begins before this time.
    next_probe: Duration,
    /// The event that is being probed.
    probing: Option<u64>,
    /// The event whose probe ended last without success, and the time before which it is not probed again.
    last_probe: Option<(u64, Duration)>,
}

/// The permission of a handler to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Admission {
    Run,
    /// It begins as the only one of its type; its end decides whether the others may.
    Probe,
    /// Not now.
    Wait,
}

/// The end of a handler, as far as it says something of what the handler depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Success,
    Failure,
    /// Something that the handler depends on is away, perhaps for a known time.
    Away(Option<Duration>),
    /// The event was rejected, or the handler was dropped: either may happen on a good day and on a bad one.
    Unknown,
}

/// A change of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Opened(BreakerCause),
    Closed { was_open_for: Duration },
}

impl Breaker {
    pub(crate) fn new(settings: CircuitBreaker) -> Self {
        Self { settings, state: State::CLOSED }
    }

    /// Returns whether the handler may begin with `event`. A probe is over once its end is
    /// [recorded](Self::record) or it is [given up](Self::give_up).
    pub(crate) fn admit(&mut self, event: u64, now: Duration) -> Admission {
        let State::Open(open) = &mut self.state else { return Admission::Run };
        if !open.is_probe_due(now) || open.probed_lately(event, now).is_some() {
            return Admission::Wait;
        }
        open.probing = Some(event);
        Admission::Probe
    }

    /// Gives up the probe of `event`, whose handler did not begin after all.
    pub(crate) fn give_up(&mut self, event: u64) {
        if let State::Open(open) = &mut self.state
            && open.probing == Some(event)
        {
            open.probing = None;
        }
    }

    /// Records how the handler of `event` ended. `random` spreads probes.
    pub(crate) fn record(
        &mut self,
        event: u64,
        verdict: Verdict,
        now: Duration,
        random: u64,
    ) -> Option<Change> {
        let Self { settings, state } = self;
        match (&mut *state, verdict) {
            (State::Open(open), Verdict::Success) => {
                let was_open_for = now.saturating_sub(open.since);
                *state = State::CLOSED;
                Some(Change::Closed { was_open_for })
            }
            (State::Open(open), verdict) => {
                open.record(event, verdict, now, spread(settings.probe_interval, random));
                None
            }
            (State::Closed { .. }, Verdict::Success) => {
                *state = State::CLOSED;
                None
            }
            (State::Closed { failures, of }, Verdict::Failure) => {
                *failures = failures.saturating_add(1).min(settings.failures);
                let needed = usize::try_from(settings.events).unwrap_or(usize::MAX);
                if of.len() < needed && !of.contains(&event) {
                    of.push(event);
                }
                let is_enough = *failures >= settings.failures && of.len() >= needed;
                is_enough.then(|| self.open(BreakerCause::Failures, now, random))
            }
            (State::Closed { .. }, Verdict::Away(known)) => {
                let change = self.open(BreakerCause::Deferred, now, random);
                if let State::Open(open) = &mut self.state {
                    open.wait_at_least(now.saturating_add(known.unwrap_or_default()));
                }
                Some(change)
            }
            (State::Closed { .. }, Verdict::Unknown) => None,
        }
    }

    fn open(&mut self, cause: BreakerCause, now: Duration, random: u64) -> Change {
        let next_probe = now.saturating_add(spread(self.settings.probe_interval, random));
        self.state = State::Open(Open { cause, since: now, next_probe, probing: None, last_probe: None });
        Change::Opened(cause)
    }

    /// Returns how long `event` is to wait before it is offered again, as one of so many that are `waiting`; `None` if
    /// the breaker is closed.
    pub(crate) fn pause(&self, event: u64, waiting: u64, now: Duration, random: u64) -> Option<Duration> {
        let State::Open(open) = &self.state else { return None };
        let interval = self.settings.probe_interval;
        let in_turn = Duration::from_secs(waiting / REDELIVERED_IN_A_SECOND);
        let until_probe = open.next_probe.saturating_sub(now);
        let pause = until_probe.max(in_turn).max(open.probed_lately(event, now).unwrap_or_default());
        let percent = u32::try_from(random % 50).unwrap_or_default();
        Some(pause.max(interval / 2).saturating_add(interval.saturating_mul(percent) / 100))
    }

    /// Returns whether it is closed and has counted no failure since the last success.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0, .. })
    }

    /// Returns whether it is open and a probe may begin.
    pub(crate) fn is_probe_due(&self, now: Duration) -> bool {
        matches!(&self.state, State::Open(open) if open.is_probe_due(now))
    }

    /// Returns why and since when it is open; `None` if it is closed.
    pub(crate) fn opened(&self) -> Option<(BreakerCause, Duration)> {
        match &self.state {
            State::Open(open) => Some((open.cause, open.since)),
            State::Closed { .. } => None,
        }
    }
}

impl State {
    const CLOSED: Self = Self::Closed { failures: 0, of: Vec::new() };
}

impl Open {
    fn is_probe_due(&self, now: Duration) -> bool {
        self.probing.is_none() && now >= self.next_probe
    }

    /// Returns for how long `event` is not probed since its last probe.
    fn probed_lately(&self, event: u64, now: Duration) -> Option<Duration> {
        let (_, again_at) = self.last_probe.filter(|(probed, _)| *probed == event)?;
        again_at.checked_sub(now).filter(|left| !left.is_zero())
    }

    fn record(&mut self, event: u64, verdict: Verdict, now: Duration, interval: Duration) {
        if self.probing == Some(event) {
            self.probing = None;
            self.next_probe = now.saturating_add(interval);
            self.last_probe = Some((event, now.saturating_add(interval.saturating_mul(INTERVALS_APART))));
        }
        if let Verdict::Away(Some(known)) = verdict {
            self.wait_at_least(now.saturating_add(known));
        }
    }

    fn wait_at_least(&mut self, until: Duration) {
        self.next_probe = self.next_probe.max(until);
    }
}

/// Returns `interval`, or up to a fifth more, so that many processes do not probe in step.
fn spread(interval: Duration, random: u64) -> Duration {
    let percent = u32::try_from(random % 21).unwrap_or_default();
    interval.saturating_add(interval.saturating_mul(percent) / 100)
}

#[cfg(test)]
mod model;
