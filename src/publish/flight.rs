//! Publishes in flight, in the order in which they were begun.

use crate::{
    nats::connection_watch::Mark,
    publish::{EncodedEvent, PublishError, PublishReceipt, span::PublishSpan},
};
use std::collections::VecDeque;
use tokio::time::Instant;

/// A ring of numbered publishes. Numbers grow by one and are never reused, so that a late answer cannot settle the
/// publish of another event.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// The number of the oldest publish.
    first: u64,
    publishes: VecDeque<Publish>,
}

#[derive(Debug)]
enum Publish {
    Sent(Sent),
    /// It waits, is repeated or is verified by a future outside the ring.
    SlowPath,
    Done(Result<PublishReceipt, PublishError>),
}

/// A publish whose first attempt is on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) event: EncodedEvent,
    pub(super) publish_span: PublishSpan,
    pub(super) mark: Mark,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
}

impl Flight {
    pub(super) fn len(&self) -> usize {
        self.publishes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publishes.is_empty()
    }

    /// Returns the number of the next publish.
    pub(super) fn next_number(&self) -> u64 {
        // At one per nanosecond, the numbers last for centuries.
        self.first.saturating_add(u64::try_from(self.publishes.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn push_sent(&mut self, sent: Sent) {
        self.publishes.push_back(Publish::Sent(sent));
    }

    pub(super) fn push_slow(&mut self) {
        self.publishes.push_back(Publish::SlowPath);
    }

    pub(super) fn push_done(&mut self, outcome: Result<PublishReceipt, PublishError>) {
        self.publishes.push_back(Publish::Done(outcome));
    }

    /// Takes a first attempt out of the ring; `None` if it is not, or no longer, on its way.
    pub(super) fn take(&mut self, number: u64) -> Option<Sent> {
        let publish = self.publish(number).filter(|publish| matches!(publish, Publish::Sent(_)))?;
        match std::mem::replace(publish, Publish::SlowPath) {
            Publish::Sent(sent) => Some(sent),
            Publish::SlowPath | Publish::Done(_) => None,
        }
    }

    /// Sets the outcome of a publish that was taken.
    pub(super) fn settle(&mut self, number: u64, outcome: Result<PublishReceipt, PublishError>) {
        if let Some(publish) = self.publish(number) {
            *publish = Publish::Done(outcome);
        }
    }

    /// Returns the numbers of first attempts that are overdue.
    pub(super) fn overdue(&self, is_overdue: impl Fn(&Sent) -> bool) -> Vec<u64> {
        let numbered = (self.first..).zip(&self.publishes);
        let overdue =
            numbered.filter(|(_, publish)| matches!(publish, Publish::Sent(sent) if is_overdue(sent)));
        overdue.map(|(number, _)| number).collect()
    }

    /// Removes the oldest publish and returns its outcome; `None` while it has none.
    pub(super) fn pop(&mut self) -> Option<Result<PublishReceipt, PublishError>> {
        match self.publishes.pop_front()? {
            Publish::Done(outcome) => {
                self.first = self.first.saturating_add(1);
                Some(outcome)
            }
            publish => {
                self.publishes.push_front(publish);
                None
            }
        }
    }

    fn publish(&mut self, number: u64) -> Option<&mut Publish> {
        let index = number.checked_sub(self.first)?;
        self.publishes.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nats::connection_watch::ConnectionWatch,
        publish::{PublishErrorKind, receipt::test_receipt},
    };

    fn sent() -> Sent {
        let key = "0".repeat(64).parse().unwrap();
        let subject = "strat.dev.unit.published".into();
        let event = EncodedEvent {
            subject,
            key,
            payload: "{}".into(),
            cloud_event: None,
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            trace: None,
        };
        let begun = Instant::now();
        Sent {
            event,
            publish_span: PublishSpan::none(),
            mark: ConnectionWatch::new().now(),
            begun,
            deadline: begun,
        }
    }

    #[test]
    fn outcomes_come_out_in_the_order_of_the_input() {
        let mut flight = Flight::default();
        for number in 0..3 {
            assert_eq!(flight.next_number(), number);
            flight.push_sent(sent());
        }
        for number in [2, 0, 1] {
            assert!(flight.take(number).is_some());
            flight.settle(number, Ok(test_receipt(number)));
        }
        let order: Vec<_> = std::iter::from_fn(|| flight.pop()).map(|r| r.unwrap().sequence()).collect();
        assert_eq!(order, [0, 1, 2]);
        assert!(flight.is_empty() && flight.next_number() == 3);
    }

    #[test]
    fn an_answer_that_is_late_or_comes_twice_finds_nothing() {
        let mut flight = Flight::default();
        flight.push_sent(sent());
        assert!(flight.take(0).is_some());
        assert!(flight.take(0).is_none(), "twice");
        assert!(flight.pop().is_none());
        flight.settle(0, Err(PublishError::new(PublishErrorKind::TimedOut)));
        assert!(flight.take(0).is_none(), "after its outcome");
        assert!(flight.pop().is_some());
        flight.push_sent(sent());
        assert!(flight.take(0).is_none(), "after it has left");
        assert!(flight.take(2).is_none(), "before it was begun");
        assert!(flight.take(u64::MAX).is_none());
        assert!(flight.take(1).is_some());
    }

    #[test]
    fn the_ring_goes_round() {
        let mut flight = Flight::default();
        for number in 0..1000 {
            flight.push_sent(sent());
            assert_eq!(flight.overdue(|_| true), [number]);
            assert!(flight.take(number).is_some());
            flight.settle(number, Ok(test_receipt(number)));
            assert_eq!(flight.pop().unwrap().unwrap().sequence(), number);
        }
        assert!(flight.publishes.capacity() < 10);
    }
}
