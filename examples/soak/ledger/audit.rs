//! The comparison of the journal with the final state: a pure function.

use crate::{Balance, Entry, Fact, found::Found, history::History};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use stratt_event_bridge::{IdempotencyKey, dead_letter::DeadLetterReason};

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
        if let Some(key) = entry.fact.key() {
            histories.entry(key).or_default().add(entry);
        }
    }
    publishing(&mut balance, &histories, found);
    forwarding(&mut balance, found);
    endings(&mut balance, &histories, found);
    blame(&mut balance, &histories, found);
    for (key, history) in &histories {
        history.grants(&mut balance, *key);
        history.counts(&mut balance, *key);
        history.effects(&mut balance, *key, &crashed);
    }
    balance
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
    for (sequence, _) in &found.dead_lettered {
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

/// Checks that a dead letter means a bad event: every dead-lettered one is bad, for the reason given, and none of the
/// bad ones is settled.
fn blame(balance: &mut Balance, histories: &BTreeMap<IdempotencyKey, History>, found: &Found) {
    let letters: HashMap<_, _> = found.dead_lettered.iter().copied().collect();
    for due in &found.due {
        let sequence = due.sequence;
        let wanted = match due.key {
            None => Some(DeadLetterReason::Invalid),
            Some(key) => histories.get(&key).and_then(|history| history.condemned),
        };
        match (letters.get(&sequence), wanted) {
            (Some(reason), None) => {
                let reason = reason.map_or("for no reason", |reason| reason.as_str());
                balance
                    .violations
                    .push(format!("message {sequence} is dead-lettered ({reason}) and not bad"));
            }
            (Some(reason), Some(wanted)) if *reason != Some(wanted) => {
                balance
                    .violations
                    .push(format!("message {sequence} is bad and its dead letter does not say {wanted}"));
            }
            _ => {}
        }
        if wanted.is_some() && due.key.is_some_and(|key| found.settled.contains(&key)) {
            balance.violations.push(format!("message {sequence} is bad and settled"));
        }
    }
}

pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
