//! Metrics of a publisher.

use crate::{
    contract::{event::EventType, subject::Address},
    publish::{PublishError, PublishReceipt},
    telemetry::instrument::{self, Counter, Histogram, counter, duplicates, histogram},
};
use std::{sync::Arc, time::Instant};

/// Counts and times publishes.
#[derive(Debug, Clone)]
pub(crate) struct PublisherMeter(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    by_type: Vec<(EventType, Outcomes<Counter>)>,
    duration: Outcomes<Histogram>,
    duplicates: Counter,
}

/// One value for each way in which a publish can end.
#[derive(Debug)]
struct Outcomes<T> {
    stored: T,
    duplicate: T,
    failed: T,
    unknown: T,
}

/// A publish under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    at: Instant,
    /// `None` for a dead letter, which is not an event.
    event_type: Option<EventType>,
}

impl Begun {
    pub(crate) fn now(subject: &str) -> Self {
        Self { at: Instant::now(), event_type: event_type_of(subject) }
    }
}

fn event_type_of(subject: &str) -> Option<EventType> {
    let named = Address::parse(subject)?.event_type;
    EventType::ALL.iter().copied().find(|event_type| event_type.as_str() == named)
}

impl PublisherMeter {
    pub(crate) fn new() -> Self {
        let by_type = EventType::ALL.iter().map(|event_type| {
            let made = |outcome| {
                let labels = [("event_type", event_type.as_str()), ("outcome", outcome)];
                counter(instrument::EMITTED, "Events whose publish has ended.", &labels)
            };
            (*event_type, Outcomes::of(made))
        });
        Self(Arc::new(Handles {
            by_type: by_type.collect(),
            duration: Outcomes::of(|outcome| {
                let help = "From the first attempt of a publish to its end.";
                histogram(instrument::PUBLISH_DURATION, help, &[("outcome", outcome)])
            }),
            duplicates: duplicates("", "broker"),
        }))
    }

    pub(crate) fn ended(&self, begun: Begun, outcome: &Result<PublishReceipt, PublishError>) {
        let Some(event_type) = begun.event_type else { return };
        self.0.duration.of_result(outcome).record(begun.at.elapsed());
        self.count(event_type, outcome);
    }

    /// Records the end of a batch: each event is counted, and the time is measured once.
    pub(crate) fn batch_ended<'a>(
        &self,
        begun: Begun,
        subjects: impl Iterator<Item = &'a str>,
        outcome: &Result<Vec<PublishReceipt>, PublishError>,
    ) {
        let duration = &self.0.duration;
        let duration = outcome.as_ref().map_or_else(|error| duration.of_error(error), |_| &duration.stored);
        duration.record(begun.at.elapsed());
        for (number, subject) in subjects.enumerate() {
            let Some(event_type) = event_type_of(subject) else { continue };
            match outcome {
                Ok(receipts) => {
                    let receipt = receipts.get(number);
                    self.count_as(event_type, receipt.is_some_and(PublishReceipt::is_duplicate));
                }
                Err(error) => self.emitted(event_type, |outcomes| outcomes.of_error(error)),
            }
        }
    }

    fn count(&self, event_type: EventType, outcome: &Result<PublishReceipt, PublishError>) {
        match outcome {
            Ok(receipt) => self.count_as(event_type, receipt.is_duplicate()),
            Err(error) => self.emitted(event_type, |outcomes| outcomes.of_error(error)),
        }
    }

    fn count_as(&self, event_type: EventType, is_duplicate: bool) {
        self.emitted(
            event_type,
            |outcomes| if is_duplicate { &outcomes.duplicate } else { &outcomes.stored },
        );
        self.0.duplicates.add(u64::from(is_duplicate));
    }

    fn emitted(&self, event_type: EventType, choose: impl FnOnce(&Outcomes<Counter>) -> &Counter) {
        if let Some((_, outcomes)) = self.0.by_type.iter().find(|(known, _)| *known == event_type) {
            choose(outcomes).add(1);
        }
    }
}

impl<T> Outcomes<T> {
    fn of(made: impl Fn(&'static str) -> T) -> Self {
        Self {
            stored: made("stored"),
            duplicate: made("duplicate"),
            failed: made("failed"),
            unknown: made("unknown"),
        }
    }

    fn of_result(&self, outcome: &Result<PublishReceipt, PublishError>) -> &T {
        match outcome {
            Ok(receipt) if receipt.is_duplicate() => &self.duplicate,
            Ok(_) => &self.stored,
            Err(error) => self.of_error(error),
        }
    }

    fn of_error(&self, error: &PublishError) -> &T {
        if error.is_outcome_unknown() { &self.unknown } else { &self.failed }
    }
}
