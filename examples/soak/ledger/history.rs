//! The history of one event, and the checks of its grants and effects.

use crate::{Balance, End, Entry, Fact, audit::count};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use stratt_event_bridge::{IdempotencyKey, dead_letter::DeadLetterReason};
use uuid::Uuid;

/// The history of one event, in the order of the grants.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) rejected: u64,
    runs: u64,
    /// The reason to dead-letter it, if no attempt can handle it.
    pub(crate) condemned: Option<DeadLetterReason>,
    pub(crate) grants: BTreeMap<u64, Grant>,
    /// The number of claims without an answer, by claimant: each may have been granted.
    pub(crate) unanswered: HashMap<Uuid, u64>,
    /// By fence, so that what a process still does that was frozen and replaced stands before what its heir did.
    pub(crate) effects: BTreeMap<u64, Vec<Effect>>,
    /// Operations that a store carried out for a grant although it had granted a later claim before.
    stale: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) claimant: Uuid,
    pub(crate) attempt: u32,
    pub(crate) lapsed: u32,
    granted_at_ms: u64,
    /// The latest expiry of its lease, counted from before the claim was sent.
    over_at_ms: u64,
    /// The ends that the store was asked for: each may have been carried out.
    pub(crate) asked: Vec<End>,
    /// The end that the store reported as carried out.
    pub(crate) ended: Option<End>,
    /// The fence of the later grant that was known when the end was asked for last.
    replaced_by: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    process: u32,
    fence: u64,
}

impl History {
    pub(crate) fn add(&mut self, entry: &Entry) {
        let process = entry.process;
        match entry.fact {
            Fact::Attempted { .. } => self.attempts += 1,
            Fact::Acknowledged { .. } => self.acknowledged += 1,
            Fact::Unknown { .. } => self.unknown += 1,
            Fact::Rejected { .. } => self.rejected += 1,
            Fact::Condemned { reason, .. } => self.condemned = Some(reason),
            Fact::Ran { .. } => self.runs += 1,
            Fact::Claiming { claimant, .. } => *self.unanswered.entry(claimant).or_default() += 1,
            Fact::Declined { claimant, .. } => self.answered(claimant),
            Fact::Granted { fence, claimant, attempt, lapsed, asked_at_ms, lease_ms, .. } => {
                self.answered(claimant);
                let grant = Grant {
                    claimant,
                    attempt,
                    lapsed,
                    granted_at_ms: entry.at_ms,
                    over_at_ms: asked_at_ms.saturating_add(lease_ms),
                    asked: Vec::new(),
                    ended: None,
                    replaced_by: None,
                };
                self.grants.insert(fence, grant);
            }
            Fact::Renewed { fence, asked_at_ms, lease_ms, .. } => {
                let later = self.grants.range(fence.saturating_add(1)..).next();
                if let Some((later, _)) = later.filter(|(_, later)| later.granted_at_ms < asked_at_ms) {
                    self.stale.push(format!("was renewed by grant {fence} after grant {later}"));
                }
                if let Some(grant) = self.grants.get_mut(&fence) {
                    grant.over_at_ms = grant.over_at_ms.max(asked_at_ms.saturating_add(lease_ms));
                }
            }
            Fact::Effect { fence, .. } => {
                self.effects.entry(fence).or_default().push(Effect { process, fence });
            }
            Fact::Ending { fence, end, .. } => {
                let last = self.grants.last_key_value().map(|(last, _)| *last);
                if let Some(grant) = self.grants.get_mut(&fence) {
                    grant.asked.push(end);
                    grant.replaced_by = last.filter(|last| *last > fence);
                }
            }
            Fact::Ended { fence, end, .. } => {
                if let Some(grant) = self.grants.get_mut(&fence) {
                    grant.ended = Some(end);
                    if let Some(later) = grant.replaced_by {
                        self.stale.push(format!("was ended by grant {fence} after grant {later}"));
                    }
                }
            }
            Fact::Crashed { .. } => {}
        }
    }

    /// Records that the last claim of this claimant has its answer.
    fn answered(&mut self, claimant: Uuid) {
        if let Some(unanswered) = self.unanswered.get_mut(&claimant) {
            *unanswered = unanswered.saturating_sub(1);
        }
        self.unanswered.retain(|_, unanswered| *unanswered > 0);
    }

    /// Checks that a slot is granted again only when it was freed or its lease had expired, and never once it is
    /// settled; and that a grant that was replaced changes nothing more.
    pub(crate) fn grants(&self, balance: &mut Balance, key: IdempotencyKey) {
        let settled = self.grants.iter().filter(|(_, grant)| grant.ended == Some(End::Settle));
        let settled_by: BTreeSet<_> = settled.map(|(fence, _)| fence).collect();
        if settled_by.len() > 1 {
            balance.violations.push(format!("{key} was settled by {} grants", settled_by.len()));
        }
        if let (Some(settled), Some((last, _))) = (settled_by.first().copied(), self.grants.last_key_value())
            && last > settled
        {
            balance.violations.push(format!("{key} was granted after it was settled"));
        }
        balance.violations.extend(self.stale.iter().map(|stale| format!("{key} {stale}")));
        for (before, after) in self.grants.values().zip(self.grants.values().skip(1)) {
            let was_over = after.granted_at_ms >= before.over_at_ms;
            let is_free = before.ended.is_some_and(|end| end != End::Settle);
            let may_be_free = before.asked.iter().any(|end| *end != End::Settle);
            if was_over && !is_free {
                balance.expiries += 1;
            } else if !may_be_free && before.claimant != after.claimant {
                let early = before.over_at_ms.saturating_sub(after.granted_at_ms);
                balance
                    .violations
                    .push(format!("{key} was granted again {early} ms before its lease was over"));
            }
        }
    }

    /// Checks that an effect is repeated only after a crash, or when the lease expired before it was settled.
    pub(crate) fn effects(&self, balance: &mut Balance, key: IdempotencyKey, crashed: &HashSet<u32>) {
        balance.runs += self.runs;
        let effects: Vec<_> = self.effects.values().flatten().collect();
        balance.effects += count(effects.len());
        for (before, after) in effects.iter().zip(effects.iter().skip(1)) {
            balance.extra_effects += 1;
            let was_over = match (self.grants.get(&before.fence), self.grants.get(&after.fence)) {
                (Some(old), Some(new)) => new.granted_at_ms >= old.over_at_ms,
                _ => false,
            };
            if !was_over && !crashed.contains(&before.process) {
                balance.violations.push(format!("{key} had an extra effect without a crash or an expiry"));
            }
        }
    }
}
