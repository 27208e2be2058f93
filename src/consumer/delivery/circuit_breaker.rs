//! The settings of the circuit breakers of a consumer, and what they report.

use crate::{contract::event::EventType, error_kind::kind_words};
use std::time::Duration;

/// The most failures that a breaker counts before it opens.
const MOST_FAILURES: u32 = 10_000;

/// The settings of the circuit breakers of a consumer: one for each event type and process.
///
/// A breaker tells a bad day from a bad event. It opens when attempts of several events fail one after the other, with
/// no success between them, or at once when a handler returns [`HandlerError::defer`](crate::HandlerError::defer).
/// While it is open no handler of its type begins but one at a time, as a probe, and a failure costs no attempt. A
/// success closes it.
///
/// ```
/// use std::time::Duration;
/// use stratt_event_bridge::{CircuitBreaker, ConsumerOptions};
///
/// let patient = CircuitBreaker::default().with_failures(50).with_probe_interval(Duration::from_secs(20));
/// let options = ConsumerOptions::default().with_circuit_breaker(patient);
/// let without = ConsumerOptions::default().with_circuit_breaker(None);
/// # assert_ne!(options, without);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CircuitBreaker {
    pub(in crate::consumer) failures: u32,
    pub(in crate::consumer) events: u32,
    pub(in crate::consumer) probe_interval: Duration,
}

impl Default for CircuitBreaker {
    /// Returns a breaker that opens after 10 failures of at least 3 events and probes every 5 s.
    fn default() -> Self {
        Self { failures: 10, events: 3, probe_interval: Duration::from_secs(5) }
    }
}

impl CircuitBreaker {
    /// Sets how many attempts in a row have to fail for the breaker to open. Default: 10.
    #[must_use]
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets of how many different events those attempts have to be, so that a single bad event does not open it.
    /// Default: 3.
    #[must_use]
    pub fn with_events(mut self, events: u32) -> Self {
        self.events = events;
        self
    }

    /// Sets the pause before the first probe and between probes, up to a fifth longer by chance. Default: 5 s.
    #[must_use]
    pub fn with_probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// Returns the first contradiction in these settings and how to resolve it, or `None`.
    pub(in crate::consumer) fn problem(&self) -> Option<String> {
        let Self { failures, events, probe_interval } = *self;
        if failures == 0 || failures > MOST_FAILURES {
            Some(format!("circuit breaker opens after {failures} failures: choose 1 to {MOST_FAILURES}"))
        } else if events == 0 || events > failures {
            Some(format!(
                "circuit breaker needs failures of {events} events: choose 1 to {failures}, its failures"
            ))
        } else if probe_interval.is_zero() {
            Some("probe interval of the circuit breaker is zero: give what is away some time".into())
        } else {
            None
        }
    }
}

/// The cause of an open circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerCause {
    /// Attempts of several events failed in a row.
    Failures,
    /// A handler deferred an event: [`HandlerError::defer`](crate::HandlerError::defer).
    Deferred,
}

kind_words! {
    BreakerCause {
        Failures => "failures", "attempts of several events failed in a row";
        Deferred => "deferred", "a handler deferred an event";
    }
}

/// A circuit breaker that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBreaker {
    pub(in crate::consumer) event_type: EventType,
    pub(in crate::consumer) cause: BreakerCause,
    pub(in crate::consumer) open_for: Duration,
}

impl OpenBreaker {
    /// Returns the type of the events that wait.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// Returns why it opened.
    #[must_use]
    pub fn cause(&self) -> BreakerCause {
        self.cause
    }

    /// Returns for how long it has been open.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.open_for
    }
}
