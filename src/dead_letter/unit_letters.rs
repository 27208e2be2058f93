//! The dead letters of consumers that park, by unit and in the order of their events.

use crate::{
    contract::subject::dead_letter_filter,
    dead_letter::{DeadLetter, DeadLetterReason},
    nats::{api_context::ApiContext, batch_get::Messages},
    topology::DEAD_LETTER_STREAM,
};
use futures::TryStreamExt;
use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
};

/// The dead letters of one consumer and feed, by their units.
#[derive(Debug, Default)]
pub(super) struct UnitLetters(HashMap<String, BTreeSet<Entry>>);

/// A dead letter, sorted by the original sequence of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) original: u64,
    /// Its own sequence.
    pub(super) sequence: u64,
}

impl UnitLetters {
    /// Reads those of a consumer in a domain, or in all if that is `*`.
    pub(super) async fn read(
        context: &ApiContext,
        stream: &str,
        consumer: &str,
        domain: &str,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let filter = dead_letter_filter(consumer, domain, ">");
        let mut letters =
            Messages::of(context, DEAD_LETTER_STREAM, filter, 1..=u64::MAX).map_ok(DeadLetter::new);
        let mut found = Self::default();
        while let Some(letter) = letters.try_next().await? {
            if letter.stream() == stream
                && let Some(unit) = letter.unit()
            {
                found.insert(unit, Entry::of(&letter));
            }
        }
        Ok(found)
    }

    pub(super) fn insert(&mut self, unit: &str, entry: Entry) {
        self.0.entry(unit.to_owned()).or_default().insert(entry);
    }

    pub(super) fn remove(&mut self, unit: &str, entry: Entry) {
        if let Some(entries) = self.0.get_mut(unit) {
            entries.remove(&entry);
            if entries.is_empty() {
                self.0.remove(unit);
            }
        }
    }

    /// Returns the head of a unit: the dead letter of its first event.
    pub(super) fn head(&self, unit: &str) -> Option<Entry> {
        self.0.get(unit)?.first().copied()
    }

    /// Returns the dead letters of one event; it has two for a moment when it failed again after a redrive.
    pub(super) fn of_event(&self, unit: &str, original: u64) -> Vec<Entry> {
        let entries = self.0.get(unit).into_iter().flatten();
        entries.filter(|entry| entry.original == original).copied().collect()
    }

    /// Returns the first dead letter of an event behind this one.
    pub(super) fn behind(&self, unit: &str, original: u64) -> Option<Entry> {
        self.0.get(unit)?.iter().find(|entry| entry.original > original).copied()
    }

    /// Returns the heads of all units.
    pub(super) fn heads(&self) -> Vec<(String, Entry)> {
        let heads = self.0.iter().filter_map(|(unit, entries)| Some((unit.clone(), *entries.first()?)));
        heads.collect()
    }
}

impl Entry {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        Self { original: letter.original_sequence(), sequence: letter.sequence() }
    }
}

/// Returns whether a dead letter waits for nothing but its turn.
pub(super) fn is_parked(letter: &DeadLetter) -> bool {
    letter.reason() == Some(DeadLetterReason::Parked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_a_unit_are_sorted_by_their_events() {
        let mut letters = UnitLetters::default();
        let entry = |original, sequence| Entry { original, sequence };
        // The first failed again after a redrive.
        for entry in [entry(5, 1), entry(6, 2), entry(8, 3), entry(5, 4)] {
            letters.insert("a", entry);
        }
        letters.insert("b", entry(1, 5));
        assert_eq!(letters.head("a"), Some(entry(5, 1)));
        assert_eq!(letters.of_event("a", 5), [entry(5, 1), entry(5, 4)]);
        assert_eq!((letters.behind("a", 5), letters.behind("a", 8)), (Some(entry(6, 2)), None));
        letters.remove("a", entry(5, 1));
        letters.remove("b", entry(1, 5));
        assert_eq!(letters.heads(), [("a".to_owned(), entry(5, 4))]);
    }
}
