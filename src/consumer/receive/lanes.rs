//! The lanes of units: one delivery at a time for each unit, in stream order.

use crate::contract::uri::UnitUri;
use std::{
    collections::{
        BTreeMap, HashMap,
        hash_map::{Entry, RandomState},
    },
    hash::BuildHasher,
};

/// A set of lanes. One delivery of each unit runs; the others wait, sorted by their sequence in the stream.
#[derive(Debug)]
pub(crate) struct UnitLanes<T> {
    lanes: HashMap<Lane, Deliveries<T>>,
    hasher: RandomState,
    is_closed: bool,
}

/// A lane, as a hash of the unit's URI: two units that share one by chance take turns, which does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane(u64);

/// The deliveries of a lane that run or wait.
#[derive(Debug)]
struct Deliveries<T> {
    /// The index of the running delivery among those in progress.
    running: Option<usize>,
    waiting: BTreeMap<u64, Waiting<T>>,
}

/// A delivery that waits, with its index among those in progress.
#[derive(Debug)]
struct Waiting<T> {
    index: usize,
    delivery: T,
}

/// The outcome of entering a lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered<T> {
    Runs(T),
    Waits,
    /// It waits in place of this older delivery of the same message.
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
    pub(crate) fn enter(&mut self, lane: Lane, sequence: u64, index: usize, delivery: T) -> Entered<T> {
        match self.lanes.entry(lane) {
            Entry::Occupied(mut deliveries) => {
                match deliveries.get_mut().waiting.insert(sequence, Waiting { index, delivery }) {
                    Some(older) => Entered::WaitsInPlaceOf(older.delivery),
                    None => Entered::Waits,
                }
            }
            Entry::Vacant(place) if self.is_closed => {
                let waiting = BTreeMap::from([(sequence, Waiting { index, delivery })]);
                place.insert(Deliveries { running: None, waiting });
                Entered::Waits
            }
            Entry::Vacant(place) => {
                place.insert(Deliveries { running: Some(index), waiting: BTreeMap::new() });
                Entered::Runs(delivery)
            }
        }
    }

    /// Ends the running delivery of a lane; returns the next one if it may run now.
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

    /// Lets deliveries start again; returns those that may run now.
    pub(crate) fn open(&mut self) -> Vec<T> {
        self.is_closed = false;
        let idle = self.lanes.values_mut().filter(|deliveries| deliveries.running.is_none());
        idle.filter_map(Deliveries::next).collect()
    }

    /// Takes all waiting deliveries.
    pub(crate) fn take_waiting(&mut self) -> Vec<T> {
        self.take_waiting_behind(|_| true)
    }

    /// Takes the deliveries that wait behind one whose index `has_stalled`, or behind none.
    pub(crate) fn take_waiting_behind(&mut self, has_stalled: impl Fn(usize) -> bool) -> Vec<T> {
        let stalled =
            self.lanes.values_mut().filter(|deliveries| deliveries.running.is_none_or(&has_stalled));
        let taken = stalled.flat_map(|deliveries| std::mem::take(&mut deliveries.waiting).into_values());
        let taken = taken.map(|waiting| waiting.delivery).collect();
        self.lanes.retain(|_, deliveries| !deliveries.is_idle());
        taken
    }
}

impl<T> Deliveries<T> {
    fn next(&mut self) -> Option<T> {
        let (_, Waiting { index, delivery }) = self.waiting.pop_first()?;
        self.running = Some(index);
        Some(delivery)
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

    fn enter(
        lanes: &mut UnitLanes<&'static str>,
        lane: Lane,
        sequence: u8,
        delivery: &'static str,
    ) -> Entered<&'static str> {
        lanes.enter(lane, sequence.into(), usize::from(sequence) + 100, delivery)
    }

    #[test]
    fn a_unit_has_one_lane_and_another_unit_another() {
        let lanes = UnitLanes::<()>::new();
        let lane = |slug| lanes.lane(&format!("strat://dev/rule/{slug}@1.0.0").parse().unwrap());
        assert_eq!(lane("a"), lane("a"));
        assert_ne!(lane("a"), lane("b"));
    }

    #[test]
    fn one_unit_runs_one_at_a_time_in_stream_order() {
        let mut lanes = UnitLanes::new();
        assert_eq!(enter(&mut lanes, A, 5, "a5"), Entered::Runs("a5"));
        assert_eq!(enter(&mut lanes, A, 7, "a7"), Entered::Waits);
        assert_eq!(enter(&mut lanes, A, 6, "a6"), Entered::Waits);
        assert_eq!(enter(&mut lanes, B, 8, "b8"), Entered::Runs("b8"));
        assert_eq!(lanes.leave(A), Some("a6"));
        assert_eq!(lanes.leave(A), Some("a7"));
        assert_eq!(lanes.leave(A), None);
        assert_eq!(enter(&mut lanes, A, 9, "a9"), Entered::Runs("a9"));
    }

    #[test]
    fn a_redelivery_replaces_the_delivery_that_waits() {
        let mut lanes = UnitLanes::new();
        enter(&mut lanes, A, 1, "running");
        enter(&mut lanes, A, 2, "old");
        assert_eq!(enter(&mut lanes, A, 2, "new"), Entered::WaitsInPlaceOf("old"));
        assert_eq!(lanes.take_waiting(), ["new"]);
        assert_eq!(lanes.leave(A), None);
    }

    #[test]
    fn while_closed_nothing_starts_and_then_all_in_stream_order() {
        let mut lanes = UnitLanes::new();
        enter(&mut lanes, B, 1, "b1");
        lanes.close();
        assert_eq!(enter(&mut lanes, A, 3, "a3"), Entered::Waits);
        assert_eq!(enter(&mut lanes, A, 2, "a2"), Entered::Waits);
        assert_eq!(enter(&mut lanes, B, 4, "b4"), Entered::Waits);
        assert_eq!(lanes.leave(B), None);
        let mut started = lanes.open();
        started.sort_unstable();
        assert_eq!(started, ["a2", "b4"]);
        assert_eq!(lanes.leave(A), Some("a3"));
    }

    #[test]
    fn only_what_waits_behind_a_stalled_delivery_is_taken() {
        let mut lanes = UnitLanes::new();
        for (lane, sequence, delivery) in [(A, 1, "a1"), (A, 2, "a2"), (B, 3, "b3"), (B, 4, "b4")] {
            enter(&mut lanes, lane, sequence, delivery);
        }
        assert_eq!(lanes.take_waiting_behind(|index| index == 101), ["a2"]);
        assert_eq!(lanes.leave(A), None);
        assert_eq!(lanes.leave(B), Some("b4"));
    }
}
