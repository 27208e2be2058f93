//! One at a time for each unit, in the order of the stream.

use crate::contract::uri::UnitUri;
use std::{
    collections::{
        BTreeMap, HashMap,
        hash_map::{Entry, RandomState},
    },
    hash::BuildHasher,
};

/// Lets one delivery of each unit run; the others wait, sorted by their sequence in the stream.
#[derive(Debug)]
pub(crate) struct UnitLanes<T> {
    lanes: HashMap<Lane, Deliveries<T>>,
    hasher: RandomState,
    is_closed: bool,
}

/// The unit of a delivery, as a hash of its URI: two units that share one by chance take turns, which does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane(u64);

/// The deliveries of a lane that run or wait.
#[derive(Debug)]
struct Deliveries<T> {
    /// The place where the delivery that runs is held.
    running: Option<usize>,
    waiting: BTreeMap<u64, Entrant<T>>,
}

/// A delivery on its way in.
#[derive(Debug)]
pub(crate) struct Entrant<T> {
    pub(crate) sequence: u64,
    /// The place where it is held.
    pub(crate) place: usize,
    pub(crate) delivery: T,
}

/// What became of a delivery on its way in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered<T> {
    Runs(T),
    Waits,
    /// It waits, and this older delivery of the same message does no more.
    WaitsInPlaceOf(T),
}

impl<T> UnitLanes<T> {
    pub(crate) fn new() -> Self {
        Self { lanes: HashMap::new(), hasher: RandomState::new(), is_closed: false }
    }

    pub(crate) fn lane(&self, uri: &UnitUri) -> Lane {
        Lane(self.hasher.hash_one(uri.as_str()))
    }

    /// Lets the delivery run if it may now. If not, it waits, in place of an older delivery of the same message.
    pub(crate) fn enter(&mut self, lane: Lane, entrant: Entrant<T>) -> Entered<T> {
        match self.lanes.entry(lane) {
            Entry::Occupied(mut deliveries) => {
                match deliveries.get_mut().waiting.insert(entrant.sequence, entrant) {
                    Some(older) => Entered::WaitsInPlaceOf(older.delivery),
                    None => Entered::Waits,
                }
            }
            Entry::Vacant(place) if self.is_closed => {
                let waiting = BTreeMap::from([(entrant.sequence, entrant)]);
                place.insert(Deliveries { running: None, waiting });
                Entered::Waits
            }
            Entry::Vacant(place) => {
                place.insert(Deliveries { running: Some(entrant.place), waiting: BTreeMap::new() });
                Entered::Runs(entrant.delivery)
            }
        }
    }

    /// One of this lane has ended: the next that may run now.
    pub(crate) fn leave(&mut self, lane: Lane) -> Option<T> {
        let Entry::Occupied(mut place) = self.lanes.entry(lane) else { return None };
        let deliveries = place.get_mut();
        deliveries.running = None;
        let next = if self.is_closed { None } else { deliveries.next() };
        if deliveries.is_idle() {
            place.remove();
        }
        next
    }

    /// Lets nothing start until [`open`](Self::open).
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Lets deliveries start again; returns those that may now.
    pub(crate) fn open(&mut self) -> Vec<T> {
        self.is_closed = false;
        let idle = self.lanes.values_mut().filter(|deliveries| deliveries.running.is_none());
        idle.filter_map(Deliveries::next).collect()
    }

    /// All that wait; none of them will run.
    pub(crate) fn take_waiting(&mut self) -> Vec<T> {
        self.take_waiting_behind(|_| true)
    }

    /// What waits behind a delivery whose place `has_stalled`, or behind none.
    pub(crate) fn take_waiting_behind(&mut self, has_stalled: impl Fn(usize) -> bool) -> Vec<T> {
        let stalled =
            self.lanes.values_mut().filter(|deliveries| deliveries.running.is_none_or(&has_stalled));
        let taken = stalled.flat_map(|deliveries| std::mem::take(&mut deliveries.waiting).into_values());
        let taken = taken.map(|entrant| entrant.delivery).collect();
        self.lanes.retain(|_, deliveries| !deliveries.is_idle());
        taken
    }
}

impl<T> Deliveries<T> {
    fn next(&mut self) -> Option<T> {
        let (_, entrant) = self.waiting.pop_first()?;
        self.running = Some(entrant.place);
        Some(entrant.delivery)
    }

    fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lane = Lane(1);
    const B: Lane = Lane(2);

    fn entrant(sequence: u8, delivery: &'static str) -> Entrant<&'static str> {
        Entrant { sequence: sequence.into(), place: usize::from(sequence) + 100, delivery }
    }

    #[test]
    fn a_unit_has_one_lane_and_another_unit_another() {
        let sequencer = UnitLanes::<()>::new();
        let lane = |slug| sequencer.lane(&format!("strat://dev/rule/{slug}@1.0.0").parse().unwrap());
        assert_eq!(lane("a"), lane("a"));
        assert_ne!(lane("a"), lane("b"));
    }

    #[test]
    fn one_unit_runs_one_at_a_time_in_stream_order() {
        let mut sequencer = UnitLanes::new();
        assert_eq!(sequencer.enter(A, entrant(5, "a5")), Entered::Runs("a5"));
        assert_eq!(sequencer.enter(A, entrant(7, "a7")), Entered::Waits);
        assert_eq!(sequencer.enter(A, entrant(6, "a6")), Entered::Waits);
        assert_eq!(sequencer.enter(B, entrant(8, "b8")), Entered::Runs("b8"));
        assert_eq!(sequencer.leave(A), Some("a6"));
        assert_eq!(sequencer.leave(A), Some("a7"));
        assert_eq!(sequencer.leave(A), None);
        assert_eq!(sequencer.enter(A, entrant(9, "a9")), Entered::Runs("a9"));
    }

    #[test]
    fn a_redelivery_replaces_the_delivery_that_waits() {
        let mut sequencer = UnitLanes::new();
        sequencer.enter(A, entrant(1, "running"));
        sequencer.enter(A, entrant(2, "old"));
        assert_eq!(sequencer.enter(A, entrant(2, "new")), Entered::WaitsInPlaceOf("old"));
        assert_eq!(sequencer.take_waiting(), ["new"]);
        assert_eq!(sequencer.leave(A), None);
    }

    #[test]
    fn while_it_is_closed_nothing_starts_and_afterwards_all_in_stream_order() {
        let mut sequencer = UnitLanes::new();
        sequencer.enter(B, entrant(1, "b1"));
        sequencer.close();
        assert_eq!(sequencer.enter(A, entrant(3, "a3")), Entered::Waits);
        assert_eq!(sequencer.enter(A, entrant(2, "a2")), Entered::Waits);
        assert_eq!(sequencer.enter(B, entrant(4, "b4")), Entered::Waits);
        assert_eq!(sequencer.leave(B), None);
        let mut started = sequencer.open();
        started.sort_unstable();
        assert_eq!(started, ["a2", "b4"]);
        assert_eq!(sequencer.leave(A), Some("a3"));
    }

    #[test]
    fn what_waits_behind_a_stalled_delivery_is_taken_and_nothing_else() {
        let mut sequencer = UnitLanes::new();
        for (lane, sequence, delivery) in [(A, 1, "a1"), (A, 2, "a2"), (B, 3, "b3"), (B, 4, "b4")] {
            sequencer.enter(lane, entrant(sequence, delivery));
        }
        assert_eq!(sequencer.take_waiting_behind(|place| place == 101), ["a2"]);
        assert_eq!(sequencer.leave(A), None);
        assert_eq!(sequencer.leave(B), Some("b4"));
    }
}
