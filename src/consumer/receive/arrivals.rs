//! The deliveries to this process, to be compared with the server's counts.

use crate::{consumer::durable::MAX_ACK_PENDING, nats::ack_subject::AckSubject};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A count of the deliveries to this process since the last look at the durable, and the events that wait at the server
/// for another delivery.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The last delivery of the durable at the last look. Deliveries up to it may arrive later, and were counted by the
    /// server then.
    after: u64,
    /// The last sequence of the stream at the last look.
    up_to: u64,
    arrived: Arrived,
    /// The arrival with the lowest sequence since the last look.
    oldest: Option<AckSubject>,
    /// The arrivals since the current look began.
    meanwhile: Option<Vec<AckSubject>>,
    /// The events that were given back or left to the server, and have not been redelivered.
    waiting: BTreeSet<u64>,
}

/// The deliveries since the last look at the durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Arrived {
    pub(crate) all: u64,
    /// First deliveries of events that the stream had at the last look.
    pub(crate) awaited: u64,
}

impl Arrivals {
    /// Counts a delivery with the ack subject `reply`, and returns the parts of that subject; `None` if it is no ack
    /// subject.
    pub(crate) fn count(&self, reply: &str) -> Option<AckSubject> {
        let delivery = AckSubject::parse(reply)?;
        let mut state = self.state();
        state.count(delivery);
        if let Some(meanwhile) = &mut state.meanwhile {
            meanwhile.push(delivery);
        }
        if delivery.deliveries > 1 {
            state.waiting.remove(&delivery.sequence);
        }
        Some(delivery)
    }

    /// Notes that the event at `sequence` is to be delivered again.
    pub(crate) fn note_waiting(&self, sequence: u64) {
        let mut state = self.state();
        state.waiting.insert(sequence);
        // The server allows no more, unless the options ask for more in flight: the oldest are forgotten first.
        if state.waiting.len() > MAX_ACK_PENDING {
            state.waiting.pop_first();
        }
    }

    /// Begins a look at the durable.
    pub(crate) fn begin_look(&self) {
        self.state().meanwhile = Some(Vec::new());
    }

    pub(crate) fn arrived(&self) -> Arrived {
        self.state().arrived
    }

    /// Returns the delivery with the lowest sequence since the last look.
    pub(crate) fn oldest(&self) -> Option<AckSubject> {
        self.state().oldest
    }

    /// Returns the first of the events that wait, from `sequence` on.
    pub(crate) fn first_waiting(&self, sequence: u64) -> Option<u64> {
        self.state().waiting.range(sequence..).next().copied()
    }

    /// Abandons a look, and continues counting as before.
    pub(crate) fn give_up_look(&self) {
        self.state().meanwhile = None;
    }

    /// Ends a look, and counts from the last delivery and the last sequence that it has seen. No event before `open`
    /// waits any longer.
    pub(crate) fn end_look(&self, last_delivery: u64, last_sequence: u64, open: u64) {
        let mut state = self.state();
        let meanwhile = state.meanwhile.take().unwrap_or_default();
        let waiting = state.waiting.split_off(&open);
        *state = State { after: last_delivery, up_to: last_sequence, waiting, ..State::default() };
        for delivery in meanwhile {
            state.count(delivery);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, delivery: AckSubject) {
        if self.oldest.is_none_or(|oldest| delivery.sequence < oldest.sequence) {
            self.oldest = Some(delivery);
        }
        if delivery.delivery > self.after {
            self.arrived.all += 1;
            self.arrived.awaited += u64::from(delivery.deliveries == 1 && delivery.sequence <= self.up_to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(arrivals: &Arrivals, delivery: u64, sequence: u64, deliveries: u64) {
        arrivals.count(&format!("$JS.ACK.S.c.{deliveries}.{sequence}.{delivery}.0.0")).unwrap();
    }

    #[test]
    fn what_a_look_has_seen_does_not_count() {
        let arrivals = Arrivals::default();
        arrivals.begin_look();
        // The server has counted the first when it is asked, and not the others.
        arrives(&arrivals, 1, 10, 1);
        arrives(&arrivals, 2, 11, 1);
        arrives(&arrivals, 3, 10, 2);
        arrives(&arrivals, 4, 13, 1);
        arrivals.end_look(1, 12, 0);
        assert_eq!(arrivals.arrived(), Arrived { all: 3, awaited: 1 });
        assert_eq!(arrivals.oldest().map(|oldest| oldest.sequence), Some(10));
        arrivals.begin_look();
        arrives(&arrivals, 5, 12, 1);
        arrivals.give_up_look();
        assert_eq!(arrivals.arrived(), Arrived { all: 4, awaited: 2 });
    }

    #[test]
    fn an_event_waits_until_redelivered_or_found_answered() {
        let arrivals = Arrivals::default();
        for sequence in [10, 11, 12] {
            arrivals.note_waiting(sequence);
        }
        arrives(&arrivals, 4, 11, 2);
        assert_eq!((arrivals.first_waiting(0), arrivals.first_waiting(11)), (Some(10), Some(12)));
        arrivals.end_look(4, 12, 12);
        assert_eq!(arrivals.first_waiting(0), Some(12));
    }
}
