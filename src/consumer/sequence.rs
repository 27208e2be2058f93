//! One at a time for each unit, in the order of the stream.

use crate::uri::UnitUri;
use std::collections::{BTreeMap, HashMap};

/// Lets one delivery of each unit run; the others wait, sorted by their sequence in the stream.
#[derive(Debug)]
pub(super) struct Sequencer<T> {
    /// A unit is here while one of its deliveries runs.
    waiting: HashMap<UnitUri, BTreeMap<u64, T>>,
}

impl<T> Sequencer<T> {
    pub(super) fn new() -> Self {
        Self { waiting: HashMap::new() }
    }

    /// The delivery if it may run now. If not, it waits, in place of an older delivery of the same message.
    pub(super) fn enter(&mut self, uri: &UnitUri, sequence: u64, delivery: T) -> Option<T> {
        if let Some(waiting) = self.waiting.get_mut(uri) {
            waiting.insert(sequence, delivery);
            return None;
        }
        self.waiting.insert(uri.clone(), BTreeMap::new());
        Some(delivery)
    }

    /// One of this unit has ended: the next that may run now.
    pub(super) fn leave(&mut self, uri: &UnitUri) -> Option<T> {
        let next = self.waiting.get_mut(uri)?.pop_first();
        if next.is_none() {
            self.waiting.remove(uri);
        }
        next.map(|(_, delivery)| delivery)
    }

    /// All that wait; none of them will run.
    pub(super) fn take_waiting(&mut self) -> Vec<T> {
        self.waiting.values_mut().flat_map(|waiting| std::mem::take(waiting).into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(slug: &str) -> UnitUri {
        format!("strat://dev/rule/{slug}@1.0.0").parse().unwrap()
    }

    #[test]
    fn one_unit_runs_one_at_a_time_in_stream_order() {
        let mut sequencer = Sequencer::new();
        assert_eq!(sequencer.enter(&uri("a"), 5, "a5"), Some("a5"));
        assert_eq!(sequencer.enter(&uri("a"), 7, "a7"), None);
        assert_eq!(sequencer.enter(&uri("a"), 6, "a6"), None);
        assert_eq!(sequencer.enter(&uri("b"), 8, "b8"), Some("b8"));
        assert_eq!(sequencer.leave(&uri("a")), Some("a6"));
        assert_eq!(sequencer.leave(&uri("a")), Some("a7"));
        assert_eq!(sequencer.leave(&uri("a")), None);
        assert_eq!(sequencer.enter(&uri("a"), 9, "a9"), Some("a9"));
    }

    #[test]
    fn a_redelivery_replaces_the_delivery_that_waits() {
        let mut sequencer = Sequencer::new();
        sequencer.enter(&uri("a"), 1, "running");
        sequencer.enter(&uri("a"), 2, "old");
        sequencer.enter(&uri("a"), 2, "new");
        assert_eq!(sequencer.take_waiting(), ["new"]);
        assert_eq!(sequencer.leave(&uri("a")), None);
    }
}
