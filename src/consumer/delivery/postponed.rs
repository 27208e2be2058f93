//! Decisions on events whose dead letters could not be stored yet.

use crate::{contract::event::key::IdempotencyKey, dead_letter::DeadLetterReason};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The bound of the memory that decisions take. A handler is run again for an event whose decision was dropped.
const MOST: usize = 10_000;

/// Decisions of this process that are not stored yet, by the sequences of their events. If there are too many, those of
/// the oldest events are dropped.
#[derive(Debug, Default)]
pub(crate) struct Postponed(Mutex<BTreeMap<u64, Decision>>);

/// The decision to dead-letter an event, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The key of the event: a stream that was recreated may have another one at the sequence.
    pub(crate) key: IdempotencyKey,
    pub(crate) reason: DeadLetterReason,
    pub(crate) error: String,
    /// The failure in one word, for spans and metrics.
    pub(crate) failure: &'static str,
}

impl Postponed {
    pub(crate) fn keep(&self, sequence: u64, decision: Decision) {
        let mut decisions = self.decisions();
        decisions.insert(sequence, decision);
        if decisions.len() > MOST {
            decisions.pop_first();
        }
    }

    pub(crate) fn find(&self, sequence: u64, key: IdempotencyKey) -> Option<Decision> {
        self.decisions().get(&sequence).filter(|decision| decision.key == key).cloned()
    }

    pub(crate) fn drop(&self, sequence: u64) {
        self.decisions().remove(&sequence);
    }

    fn decisions(&self) -> MutexGuard<'_, BTreeMap<u64, Decision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(digit: &str) -> Decision {
        let key = digit.repeat(64).parse().unwrap();
        let (reason, error) = (DeadLetterReason::Rejected, "no".to_owned());
        Decision { key, reason, error, failure: "rejected" }
    }

    #[test]
    fn a_verdict_is_found_by_its_event_until_it_is_dropped() {
        let (postponed, kept) = (Postponed::default(), decision("1"));
        postponed.keep(7, kept.clone());
        assert_eq!(postponed.find(7, kept.key), Some(kept.clone()));
        assert_eq!(postponed.find(8, kept.key), None);
        assert_eq!(postponed.find(7, decision("2").key), None);
        postponed.drop(7);
        assert_eq!(postponed.find(7, kept.key), None);
    }

    #[test]
    fn of_too_many_the_oldest_are_dropped() {
        let (postponed, kept) = (Postponed::default(), decision("1"));
        for sequence in (0..=10_000).rev() {
            postponed.keep(sequence, kept.clone());
        }
        assert_eq!(postponed.decisions().len(), MOST);
        assert_eq!(postponed.find(0, kept.key), None);
        assert_eq!(postponed.find(1, kept.key), Some(kept));
    }
}
