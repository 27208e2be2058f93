//! Metrics of a consumer.

use crate::{
    consumer::ConsumeSummary,
    contract::event::EventType,
    telemetry::instrument::{self, Counter, Gauge, Histogram, counter, duplicates, gauge, histogram},
};
use tokio::time::Instant;

/// Counts what a consumer does.
#[derive(Debug)]
pub(crate) struct ConsumerMeter {
    counters: Vec<(Count, Counter)>,
    retries: Counter,
    in_flight: Gauge,
    store_up: Gauge,
    pending: Gauge,
    durations: Vec<(EventType, Durations)>,
}

type Count = fn(&ConsumeSummary) -> u64;

/// Of handlers that returned `Ok`, and of all others.
#[derive(Debug)]
struct Durations {
    ok: Histogram,
    error: Histogram,
}

impl ConsumerMeter {
    pub(crate) fn new(name: &str, handled: impl Iterator<Item = EventType>) -> Self {
        let consumer = [("consumer", name)];
        let unsettled = |cause, count: Count| {
            let help = "Deliveries that ended without an answer for good, and events that expired before.";
            (count, counter(instrument::UNSETTLED, help, &[("consumer", name), ("cause", cause)]))
        };
        let durations = handled.map(|event_type| {
            let made = |outcome| {
                let labels = [("consumer", name), ("event_type", event_type.as_str()), ("outcome", outcome)];
                histogram(instrument::HANDLER_DURATION, "How long handlers ran.", &labels)
            };
            (event_type, Durations { ok: made("ok"), error: made("error") })
        });
        let counters: Vec<(Count, Counter)> = vec![
            (|all| all.received, counter(instrument::RECEIVED, "Messages the server delivered.", &consumer)),
            (
                |all| all.handled,
                counter(instrument::HANDLED, "Events that were handled and settled.", &consumer),
            ),
            (|all| all.duplicates, duplicates(name, "settled")),
            unsettled("postponed", |all| all.postponed),
            unsettled("returned", |all| all.returned),
            unsettled("abandoned", |all| all.abandoned),
            unsettled("expired", |all| all.expired),
        ];
        Self {
            counters,
            retries: counter(instrument::RETRIES, "Attempts that failed and are repeated.", &consumer),
            in_flight: gauge(
                instrument::IN_FLIGHT,
                "Messages held: waiting, running or being answered.",
                &consumer,
            ),
            store_up: gauge(instrument::STORE_UP, "1 while the dedupe store answers, else 0.", &consumer),
            pending: gauge(instrument::PENDING, "Events that the server has not delivered yet.", &consumer),
            durations: durations.collect(),
        }
    }

    /// What was counted since `before`.
    pub(crate) fn counted(&self, before: &ConsumeSummary, now: &ConsumeSummary) {
        if before == now {
            return;
        }
        for (count, counter) in &self.counters {
            let added = count(now).saturating_sub(count(before));
            if added > 0 {
                counter.add(added);
            }
        }
    }

    pub(crate) fn holds(&self, in_flight: usize, is_store_up: bool) {
        self.in_flight.set(u64::try_from(in_flight).unwrap_or(u64::MAX));
        self.store_up.set(u64::from(is_store_up));
    }

    pub(crate) fn retried(&self) {
        self.retries.add(1);
    }

    pub(crate) fn pending(&self, pending: u64) {
        self.pending.set(pending);
    }

    pub(crate) fn handled(&self, event_type: EventType, begun: Instant, is_ok: bool) {
        if let Some((_, durations)) = self.durations.iter().find(|(known, _)| *known == event_type) {
            let histogram = if is_ok { &durations.ok } else { &durations.error };
            histogram.record(begun.elapsed());
        }
    }
}
