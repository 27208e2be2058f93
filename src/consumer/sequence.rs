//! One at a time for each unit, in the order of the stream.

use crate::uri::UnitUri;
use std::collections::{BTreeMap, HashMap};

/// Lets one delivery of each unit run; the others wait, sorted by their sequence in the stream.
#[derive(Debug)]
pub(super) struct Sequencer<T> {
    units: HashMap<UnitUri, Unit<T>>,
    is_closed: bool,
}

/// A unit with deliveries that run or wait.
#[derive(Debug)]
struct Unit<T> {
    /// The hold of the delivery that runs.
    running: Option<u64>,
    waiting: BTreeMap<u64, Entrant<T>>,
}

/// A delivery on its way in.
#[derive(Debug)]
pub(super) struct Entrant<T> {
    pub(super) sequence: u64,
    pub(super) hold: u64,
    pub(super) delivery: T,
}

impl<T> Sequencer<T> {
    pub(super) fn new() -> Self {
        Self { units: HashMap::new(), is_closed: false }
    }

    /// The delivery if it may run now. If not, it waits, in place of an older delivery of the same message.
    pub(super) fn enter(&mut self, uri: &UnitUri, entrant: Entrant<T>) -> Option<T> {
        if let Some(unit) = self.units.get_mut(uri) {
            unit.waiting.insert(entrant.sequence, entrant);
            return None;
        }
        let mut unit = Unit { running: None, waiting: BTreeMap::from([(entrant.sequence, entrant)]) };
        let first = if self.is_closed { None } else { unit.next() };
        self.units.insert(uri.clone(), unit);
        first
    }

    /// One of this unit has ended: the next that may run now.
    pub(super) fn leave(&mut self, uri: &UnitUri) -> Option<T> {
        let unit = self.units.get_mut(uri)?;
        unit.running = None;
        let next = if self.is_closed { None } else { unit.next() };
        if unit.is_idle() {
            self.units.remove(uri);
        }
        next
    }

    /// Lets nothing start until [`open`](Self::open).
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Lets deliveries start again; returns those that may now.
    pub(super) fn open(&mut self) -> Vec<(UnitUri, T)> {
        self.is_closed = false;
        let idle = self.units.iter_mut().filter(|(_, unit)| unit.running.is_none());
        idle.filter_map(|(uri, unit)| Some((uri.clone(), unit.next()?))).collect()
    }

    /// All that wait; none of them will run.
    pub(super) fn take_waiting(&mut self) -> Vec<T> {
        self.take_waiting_behind(|_| true)
    }

    /// What waits behind a delivery whose hold `has_stalled`, or behind none.
    pub(super) fn take_waiting_behind(&mut self, has_stalled: impl Fn(u64) -> bool) -> Vec<T> {
        let stalled = self.units.values_mut().filter(|unit| unit.running.is_none_or(&has_stalled));
        let taken = stalled.flat_map(|unit| std::mem::take(&mut unit.waiting).into_values());
        let taken = taken.map(|entrant| entrant.delivery).collect();
        self.units.retain(|_, unit| !unit.is_idle());
        taken
    }
}

impl<T> Unit<T> {
    fn next(&mut self) -> Option<T> {
        let (_, entrant) = self.waiting.pop_first()?;
        self.running = Some(entrant.hold);
        Some(entrant.delivery)
    }

    fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(slug: &str) -> UnitUri {
        format!("strat://dev/rule/{slug}@1.0.0").parse().unwrap()
    }

    fn entrant(sequence: u64, delivery: &'static str) -> Entrant<&'static str> {
        Entrant { sequence, hold: sequence + 100, delivery }
    }

    #[test]
    fn one_unit_runs_one_at_a_time_in_stream_order() {
        let mut sequencer = Sequencer::new();
        assert_eq!(sequencer.enter(&uri("a"), entrant(5, "a5")), Some("a5"));
        assert_eq!(sequencer.enter(&uri("a"), entrant(7, "a7")), None);
        assert_eq!(sequencer.enter(&uri("a"), entrant(6, "a6")), None);
        assert_eq!(sequencer.enter(&uri("b"), entrant(8, "b8")), Some("b8"));
        assert_eq!(sequencer.leave(&uri("a")), Some("a6"));
        assert_eq!(sequencer.leave(&uri("a")), Some("a7"));
        assert_eq!(sequencer.leave(&uri("a")), None);
        assert_eq!(sequencer.enter(&uri("a"), entrant(9, "a9")), Some("a9"));
    }

    #[test]
    fn a_redelivery_replaces_the_delivery_that_waits() {
        let mut sequencer = Sequencer::new();
        sequencer.enter(&uri("a"), entrant(1, "running"));
        sequencer.enter(&uri("a"), entrant(2, "old"));
        sequencer.enter(&uri("a"), entrant(2, "new"));
        assert_eq!(sequencer.take_waiting(), ["new"]);
        assert_eq!(sequencer.leave(&uri("a")), None);
    }

    #[test]
    fn while_it_is_closed_nothing_starts_and_afterwards_all_in_stream_order() {
        let mut sequencer = Sequencer::new();
        sequencer.enter(&uri("b"), entrant(1, "b1"));
        sequencer.close();
        assert_eq!(sequencer.enter(&uri("a"), entrant(3, "a3")), None);
        assert_eq!(sequencer.enter(&uri("a"), entrant(2, "a2")), None);
        assert_eq!(sequencer.enter(&uri("b"), entrant(4, "b4")), None);
        assert_eq!(sequencer.leave(&uri("b")), None);
        let mut started = sequencer.open();
        started.sort();
        assert_eq!(started, [(uri("a"), "a2"), (uri("b"), "b4")]);
        assert_eq!(sequencer.leave(&uri("a")), Some("a3"));
    }

    #[test]
    fn what_waits_behind_a_stalled_delivery_is_taken_and_nothing_else() {
        let mut sequencer = Sequencer::new();
        for (unit, sequence, delivery) in [("a", 1, "a1"), ("a", 2, "a2"), ("b", 3, "b3"), ("b", 4, "b4")] {
            sequencer.enter(&uri(unit), entrant(sequence, delivery));
        }
        assert_eq!(sequencer.take_waiting_behind(|hold| hold == 101), ["a2"]);
        assert_eq!(sequencer.leave(&uri("a")), None);
        assert_eq!(sequencer.leave(&uri("b")), Some("b4"));
    }
}
