//! The comparison of the journal with the final state: a pure function.

use crate::{Balance, Entry, Fact, found::Found};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use stratt_event_bridge::IdempotencyKey;
use uuid::Uuid;

/// Counts everything, and collects the violations.
pub(crate) fn audit(seed: u64, entries: &[Entry], found: &Found) -> Balance {
    let mut balance = Balance { seed, ..Balance::default() };
    let crashed: HashSet<u32> = entries
        .iter()
        .filter_map(|entry| match entry.fact {
            Fact::Crashed { victim } => Some(victim),
            _ => None,
        })
        .collect();
    balance.crashes = count(crashed.len());
    let mut histories: BTreeMap<IdempotencyKey, History> = BTreeMap::new();
    for entry in entries {
        if let Some(key) = key_of(&entry.fact) {
            histories.entry(key).or_default().add(entry);
        }
    }
    publishing(&mut balance, &histories, found);
    forwarding(&mut balance, found);
    endings(&mut balance, &histories, found);
    for (key, history) in &histories {
        history.grants(&mut balance, *key, &crashed);
        history.effects(&mut balance, *key, &crashed);
    }
    balance
}

/// The history of one event, in the order of the grants.
#[derive(Debug, Default)]
struct History {
    attempts: u64,
    acknowledged: u64,
    unknown: u64,
    rejected: u64,
    runs: u64,
    grants: BTreeMap<u64, Grant>,
    /// By fence, so that what a process still does that was frozen and replaced stands before what its heir did.
    effects: BTreeMap<u64, Vec<Effect>>,
    settled_by: BTreeSet<u64>,
    freed_by: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Grant {
    process: u32,
    claimant: Uuid,
    granted_at_ms: u64,
    /// The latest expiry of its lease, counted from before the claim was sent.
    over_at_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Effect {
    process: u32,
    fence: u64,
}

fn key_of(fact: &Fact) -> Option<IdempotencyKey> {
    match fact {
        Fact::Attempted { key }
        | Fact::Acknowledged { key }
        | Fact::Unknown { key }
        | Fact::Rejected { key }
        | Fact::Granted { key, .. }
        | Fact::Renewed { key, .. }
        | Fact::Ran { key, .. }
        | Fact::Effect { key, .. }
        | Fact::Settled { key, .. }
        | Fact::Freed { key, .. } => Some(*key),
        Fact::Crashed { .. } => None,
    }
}

impl History {
    fn add(&mut self, entry: &Entry) {
        let process = entry.process;
        match &entry.fact {
            Fact::Attempted { .. } => self.attempts += 1,
            Fact::Acknowledged { .. } => self.acknowledged += 1,
            Fact::Unknown { .. } => self.unknown += 1,
            Fact::Rejected { .. } => self.rejected += 1,
            Fact::Ran { .. } => self.runs += 1,
            Fact::Granted { fence, claimant, asked_at_ms, lease_ms, .. } => {
                let over_at_ms = asked_at_ms.saturating_add(*lease_ms);
                let grant = Grant { process, claimant: *claimant, granted_at_ms: entry.at_ms, over_at_ms };
                self.grants.insert(*fence, grant);
            }
            Fact::Renewed { fence, asked_at_ms, lease_ms, .. } => {
                if let Some(grant) = self.grants.get_mut(fence) {
                    grant.over_at_ms = grant.over_at_ms.max(asked_at_ms.saturating_add(*lease_ms));
                }
            }
            Fact::Effect { fence, .. } => {
                self.effects.entry(*fence).or_default().push(Effect { process, fence: *fence });
            }
            Fact::Settled { fence, .. } => _ = self.settled_by.insert(*fence),
            Fact::Freed { fence, .. } => _ = self.freed_by.insert(*fence),
            Fact::Crashed { .. } => {}
        }
    }

    /// Checks that a slot is granted again only when it was freed or its lease had expired, and never once it is
    /// settled.
    fn grants(&self, balance: &mut Balance, key: IdempotencyKey, crashed: &HashSet<u32>) {
        if self.settled_by.len() > 1 {
            balance.violations.push(format!("{key} was settled by {} grants", self.settled_by.len()));
        }
        if let (Some(settled), Some((last, _))) = (self.settled_by.first(), self.grants.last_key_value())
            && last > settled
        {
            balance.violations.push(format!("{key} was granted after it was settled"));
        }
        for ((fence, before), (_, after)) in self.grants.iter().zip(self.grants.iter().skip(1)) {
            let was_over = after.granted_at_ms >= before.over_at_ms;
            // A killed process may have freed it before it could record that.
            let may_be_free = self.freed_by.contains(fence) || crashed.contains(&before.process);
            if was_over && !self.freed_by.contains(fence) {
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
    fn effects(&self, balance: &mut Balance, key: IdempotencyKey, crashed: &HashSet<u32>) {
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

fn publishing(balance: &mut Balance, histories: &BTreeMap<IdempotencyKey, History>, found: &Found) {
    let mut copies: HashMap<IdempotencyKey, Vec<_>> = HashMap::new();
    for stored in &found.stored {
        if let Some(key) = stored.key {
            copies.entry(key).or_default().push(stored.at);
        }
    }
    balance.stored = count(found.stored.len());
    for (key, times) in &copies {
        let again = times.windows(2).filter(|pair| match pair {
            [first, second] => *second - *first < found.duplicate_window,
            _ => false,
        });
        let again = count(again.count());
        if again > 0 {
            balance.stored_duplicates += again;
            balance.violations.push(format!("{key} was stored again within the duplicate window"));
        }
    }
    for (key, history) in histories {
        balance.attempts += history.attempts;
        balance.acknowledged += history.acknowledged;
        balance.unknown += history.unknown;
        balance.rejected += history.rejected;
        let is_stored = copies.contains_key(key);
        if history.acknowledged > 0 && !is_stored {
            balance.lost += 1;
            balance.violations.push(format!("{key} was acknowledged and is not stored"));
        }
        if history.acknowledged == 0 && is_stored {
            balance.recovered += 1;
            if history.unknown == 0 {
                balance.violations.push(format!("{key} was rejected, or never published, and is stored"));
            }
        }
    }
    let ended = balance.acknowledged + balance.unknown + balance.rejected;
    if balance.attempts != ended {
        balance.violations.push(format!("of {} publishes {ended} ended", balance.attempts));
    }
}

/// Checks that each event of the origin is in the durable's feed once, and nothing else.
fn forwarding(balance: &mut Balance, found: &Found) {
    let origins: BTreeSet<_> = found.stored.iter().map(|stored| stored.sequence).collect();
    let mut forwarded = BTreeSet::new();
    for due in &found.due {
        if !forwarded.insert(due.origin) {
            balance.violations.push(format!("event {} was forwarded twice", due.origin));
        }
        if !origins.contains(&due.origin) {
            balance.violations.push(format!("event {} was forwarded and is not stored", due.origin));
        }
    }
    for missing in origins.difference(&forwarded) {
        balance.violations.push(format!("event {missing} is stored and the durable is not due it"));
    }
}

/// Checks that every message of the feed has exactly one outcome, or is pending.
fn endings(balance: &mut Balance, histories: &BTreeMap<IdempotencyKey, History>, found: &Found) {
    balance.due = count(found.due.len());
    balance.delivered = found.deliveries;
    let mut letters = HashSet::new();
    for sequence in &found.dead_lettered {
        if !letters.insert(sequence) {
            balance.violations.push(format!("message {sequence} has two dead letters"));
        }
    }
    let mut twins: HashMap<IdempotencyKey, u64> = HashMap::new();
    for key in found.due.iter().filter_map(|due| due.key) {
        *twins.entry(key).or_default() += 1;
    }
    for due in &found.due {
        let is_settled = due.key.is_some_and(|key| found.settled.contains(&key));
        let is_dead_lettered = letters.contains(&due.sequence);
        // A twin may have been dead-lettered before the other was settled: so it is after a redrive.
        let is_alone = due.key.is_none_or(|key| twins.get(&key).is_none_or(|copies| *copies == 1));
        match (is_dead_lettered, is_settled) {
            (true, true) if is_alone => {
                balance.violations.push(format!("message {} is dead-lettered and settled", due.sequence));
            }
            (true, _) => balance.dead_lettered += 1,
            (false, true) => balance.settled += 1,
            (false, false) => balance.pending += 1,
        }
        let has_effect =
            due.key.and_then(|key| histories.get(&key)).is_some_and(|history| !history.effects.is_empty());
        if is_settled && !has_effect {
            balance.violations.push(format!("message {} is settled without an effect", due.sequence));
        }
    }
    if balance.pending > found.pending {
        let vanished = balance.pending - found.pending;
        balance
            .violations
            .push(format!("{vanished} messages are neither settled, dead-lettered nor pending"));
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
