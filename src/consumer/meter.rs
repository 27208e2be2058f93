//! The metrics of a consumer.

use crate::{
    consumer::summary::Count,
    contract::event::EventType,
    dead_letter::{DeadLetterReason, counter_of},
    telemetry::instrument::{
        self, Counter, Gauge, Histogram, counter, duplicates, gauge, gauge_in_seconds, histogram,
    },
};
use std::time::Duration;
use tokio::time::Instant;

/// The instruments of a consumer.
#[derive(Debug)]
pub(crate) struct ConsumerMeter {
    received: Counter,
    handled: Counter,
    duplicates: Counter,
    deferred: Counter,
    postponed: Counter,
    returned: Counter,
    abandoned: Counter,
    expired: Counter,
    retries: Counter,
    pinned: Counter,
    in_flight: Gauge,
    held: Gauge,
    store_up: Gauge,
    pending: Gauge,
    unanswered: Gauge,
    oldest: Gauge,
    max_age: Gauge,
    paused: Gauge,
    letters: Gauge,
    breakers: Vec<(EventType, Gauge)>,
    durations: Vec<(EventType, Durations)>,
}

/// The durations of handlers that returned `Ok`, and of all others.
#[derive(Debug)]
struct Durations {
    ok: Histogram,
    error: Histogram,
}

impl ConsumerMeter {
    pub(crate) fn new(name: &str, handled: impl Iterator<Item = EventType>) -> Self {
        let consumer = [("consumer", name)];
        let unsettled = |cause| {
            let help = "Deliveries that ended without a final answer, and events that expired before.";
            counter(instrument::UNSETTLED, help, &[("consumer", name), ("cause", cause)])
        };
        for reason in DeadLetterReason::ALL {
            counter_of(name, reason);
        }
        let handled: Vec<_> = handled.collect();
        let breaker = |event_type: &EventType| {
            let labels = [("consumer", name), ("event_type", event_type.as_str())];
            let help = "1 while the circuit breaker of the event type is open in this process, else 0.";
            let breaker = gauge(instrument::BREAKER_OPEN, help, &labels);
            breaker.set(0);
            (*event_type, breaker)
        };
        let breakers = handled.iter().map(breaker).collect();
        let store_up = gauge(instrument::STORE_UP, "1 while the dedupe store answers, else 0.", &consumer);
        // Until it runs, nothing says otherwise.
        store_up.set(1);
        let durations = handled.into_iter().map(|event_type| {
            let made = |outcome| {
                let labels = [("consumer", name), ("event_type", event_type.as_str()), ("outcome", outcome)];
                histogram(instrument::HANDLER_DURATION, "How long handlers ran.", &labels)
            };
            (event_type, Durations { ok: made("ok"), error: made("error") })
        });
        Self {
            received: counter(instrument::RECEIVED, "Messages the server delivered.", &consumer),
            handled: counter(instrument::HANDLED, "Events that were handled and settled.", &consumer),
            duplicates: duplicates(name, "settled"),
            deferred: unsettled("deferred"),
            postponed: unsettled("postponed"),
            returned: unsettled("returned"),
            abandoned: unsettled("abandoned"),
            expired: unsettled("expired"),
            retries: counter(instrument::RETRIES, "Attempts that failed and are repeated.", &consumer),
            pinned: counter(
                instrument::PINNED,
                "Times that this process became the pinned client of the durable.",
                &consumer,
            ),
            in_flight: gauge(
                instrument::IN_FLIGHT,
                "Messages in flight: claimed, running or being answered.",
                &consumer,
            ),
            held: gauge(instrument::HELD, "Messages that are held: in flight or waiting for it.", &consumer),
            store_up,
            pending: gauge(instrument::PENDING, "Events that the server has not delivered yet.", &consumer),
            unanswered: gauge(
                instrument::UNANSWERED,
                "Events that are delivered, here or elsewhere, and not answered.",
                &consumer,
            ),
            oldest: gauge_in_seconds(
                instrument::OLDEST,
                "Age of the oldest event that the durable has not acknowledged; 0 if there is none.",
                &consumer,
            ),
            max_age: gauge_in_seconds(
                instrument::MAX_AGE,
                "Age at which the stream removes events; 0 if it keeps them.",
                &consumer,
            ),
            paused: gauge_in_seconds(
                instrument::PAUSED,
                "How long the durable stays paused; 0 while it is not paused.",
                &consumer,
            ),
            letters: gauge(instrument::DEAD_LETTERS_STORED, "Dead letters in their stream.", &[]),
            breakers,
            durations: durations.collect(),
        }
    }

    /// Adds to the counter of `what`. Dead letters are counted where they are stored, retries by
    /// [`retried`](Self::retried).
    pub(crate) fn count(&self, what: Count, added: u64) {
        match what {
            Count::Received => self.received.add(added),
            Count::Handled => self.handled.add(added),
            Count::Duplicates => self.duplicates.add(added),
            Count::Deferred => self.deferred.add(added),
            Count::Postponed => self.postponed.add(added),
            Count::Returned => self.returned.add(added),
            Count::Abandoned => self.abandoned.add(added),
            Count::Expired => self.expired.add(added),
            Count::Retried | Count::Exhausted | Count::Rejected | Count::Invalid | Count::Parked => {}
        }
    }

    /// Counts a failed attempt that is repeated, by the server or in place.
    pub(crate) fn retried(&self) {
        self.retries.add(1);
    }

    /// Counts that this process became the pinned client.
    pub(crate) fn pinned(&self) {
        self.pinned.add(1);
    }

    pub(crate) fn gauges(&self, in_flight: usize, held: usize, is_store_up: bool) {
        self.in_flight.set(u64::try_from(in_flight).unwrap_or(u64::MAX));
        self.held.set(u64::try_from(held).unwrap_or(u64::MAX));
        self.store_up.set(u64::from(is_store_up));
    }

    /// Sets the gauges of a consumer that has ended.
    pub(crate) fn ended(&self, is_store_up: bool) {
        self.gauges(0, 0, is_store_up);
        self.durable(0, 0, Duration::ZERO);
        self.oldest(Duration::ZERO);
        for (_, breaker) in &self.breakers {
            breaker.set(0);
        }
    }

    /// Sets what the server has reported of the durable: what it has not delivered, what is delivered and not answered,
    /// and how long it stays paused.
    pub(crate) fn durable(&self, pending: u64, unanswered: u64, paused: Duration) {
        self.pending.set(pending);
        self.unanswered.set(unanswered);
        self.paused.set_seconds(paused);
    }

    /// Sets the age of the oldest event that is not acknowledged.
    pub(crate) fn oldest(&self, age: Duration) {
        self.oldest.set_seconds(age);
    }

    /// Sets the age at which the stream removes events; zero if it keeps them.
    pub(crate) fn max_age(&self, max_age: Duration) {
        self.max_age.set_seconds(max_age);
    }

    /// Sets how many dead letters are stored, those of all consumers.
    pub(crate) fn letters(&self, stored: u64) {
        self.letters.set(stored);
    }

    /// Sets whether the circuit breaker of a type is open.
    pub(crate) fn breaker(&self, event_type: EventType, is_open: bool) {
        if let Some((_, breaker)) = self.breakers.iter().find(|(known, _)| *known == event_type) {
            breaker.set(u64::from(is_open));
        }
    }

    /// Records how long a handler ran that began at `begun`.
    pub(crate) fn ran(&self, event_type: EventType, begun: Instant, is_ok: bool) {
        if let Some((_, durations)) = self.durations.iter().find(|(known, _)| *known == event_type) {
            let histogram = if is_ok { &durations.ok } else { &durations.error };
            histogram.record(begun.elapsed());
        }
    }
}
