//! The metrics of a consumer.

use crate::{
    consumer::summary::Count,
    contract::event::EventType,
    telemetry::instrument::{self, Counter, Gauge, Histogram, counter, duplicates, gauge, histogram},
};
use tokio::time::Instant;

/// The instruments of a consumer.
#[derive(Debug)]
pub(crate) struct ConsumerMeter {
    received: Counter,
    handled: Counter,
    duplicates: Counter,
    postponed: Counter,
    returned: Counter,
    abandoned: Counter,
    expired: Counter,
    retries: Counter,
    in_flight: Gauge,
    store_up: Gauge,
    pending: Gauge,
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
        let durations = handled.map(|event_type| {
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
            postponed: unsettled("postponed"),
            returned: unsettled("returned"),
            abandoned: unsettled("abandoned"),
            expired: unsettled("expired"),
            retries: counter(instrument::RETRIES, "Attempts that failed and are repeated.", &consumer),
            in_flight: gauge(
                instrument::IN_FLIGHT,
                "Messages in flight: waiting, running or being answered.",
                &consumer,
            ),
            store_up: gauge(instrument::STORE_UP, "1 while the dedupe store answers, else 0.", &consumer),
            pending: gauge(instrument::PENDING, "Events that the server has not delivered yet.", &consumer),
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
            Count::Postponed => self.postponed.add(added),
            Count::Returned => self.returned.add(added),
            Count::Abandoned => self.abandoned.add(added),
            Count::Expired => self.expired.add(added),
            Count::Retried | Count::Exhausted | Count::Rejected | Count::Invalid => {}
        }
    }

    /// Counts a failed attempt that is repeated, by the server or in place.
    pub(crate) fn retried(&self) {
        self.retries.add(1);
    }

    pub(crate) fn gauges(&self, in_flight: usize, is_store_up: bool) {
        self.in_flight.set(u64::try_from(in_flight).unwrap_or(u64::MAX));
        self.store_up.set(u64::from(is_store_up));
    }

    pub(crate) fn pending(&self, pending: u64) {
        self.pending.set(pending);
    }

    /// Records how long a handler ran that began at `begun`.
    pub(crate) fn ran(&self, event_type: EventType, begun: Instant, is_ok: bool) {
        if let Some((_, durations)) = self.durations.iter().find(|(known, _)| *known == event_type) {
            let histogram = if is_ok { &durations.ok } else { &durations.error };
            histogram.record(begun.elapsed());
        }
    }
}
