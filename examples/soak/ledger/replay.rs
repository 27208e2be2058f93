//! The replay of an event's grants by the contract of the store: what each counts follows from the ends before it.

use crate::{Balance, End, history::History};
use std::collections::HashSet;
use stratt_event_bridge::IdempotencyKey;
use uuid::Uuid;

/// The state of a slot: who holds it, if anyone, and its counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Slot {
    holder: Option<Uuid>,
    attempt: u32,
    lapsed: u32,
}

impl Slot {
    /// Returns the slot once `claimant` has been granted it.
    fn granted(self, claimant: Uuid) -> Self {
        let (attempt, lapsed) = match self.holder {
            Some(holder) if holder == claimant => (self.attempt, self.lapsed),
            // Its lease has expired.
            Some(_) => (self.attempt.saturating_add(1), self.lapsed.saturating_add(1)),
            None => (self.attempt.saturating_add(1), self.lapsed),
        };
        Self { holder: Some(claimant), attempt, lapsed }
    }

    /// Returns the slot after the end of its grant; `None` if it is settled, and never granted again.
    fn ended(self, end: End) -> Option<Self> {
        let Self { attempt, lapsed, .. } = self;
        let (attempt, lapsed) = match end {
            End::Settle => return None,
            End::Release => (attempt, lapsed),
            End::Defer => (attempt.saturating_sub(1), lapsed),
            End::Forget => (0, 0),
        };
        Some(Self { holder: None, attempt, lapsed })
    }
}

impl History {
    /// Checks that the counts of each grant follow from the grants and ends before it.
    ///
    /// What has no answer was carried out or was not: a claim, which then has a fence that nobody knows, and an end.
    pub(crate) fn counts(&self, balance: &mut Balance, key: IdempotencyKey) {
        let mut before = HashSet::from([Slot::default()]);
        for (fence, grant) in &self.grants {
            let (attempt, lapsed) = (grant.attempt, grant.lapsed);
            let slot = Slot { holder: Some(grant.claimant), attempt, lapsed };
            if !self.with_unknown_grants(before).iter().any(|before| before.granted(grant.claimant) == slot) {
                balance.violations.push(format!(
                    "{key} was granted as attempt {attempt} with {lapsed} lapses by {fence}, which does not follow"
                ));
            }
            before = match grant.ended {
                Some(end) => slot.ended(end).into_iter().collect(),
                None => grant.asked.iter().filter_map(|end| slot.ended(*end)).chain([slot]).collect(),
            };
        }
    }

    /// Returns the states that these may have become by claims whose answers were lost.
    fn with_unknown_grants(&self, slots: HashSet<Slot>) -> HashSet<Slot> {
        let (mut all, mut newest) = (slots.clone(), slots);
        for _ in 0..self.unanswered.values().sum() {
            let next =
                newest.iter().flat_map(|slot| self.unanswered.keys().map(|claimant| slot.granted(*claimant)));
            newest = next.filter(|slot| all.insert(*slot)).collect();
        }
        all
    }
}
