use super::*;
use crate::found::Stored;
use std::time::Duration;
use time::OffsetDateTime;

fn key(number: u8) -> IdempotencyKey {
    format!("{number:064x}").parse().unwrap()
}

fn entry(at_ms: u64, process: u32, fact: Fact) -> Entry {
    Entry { at_ms, process, fact }
}

fn granted(at_ms: u64, process: u32, fence: u64) -> Entry {
    let claimant = Uuid::from_u128(fence.into());
    entry(at_ms, process, Fact::Granted { key: key(1), fence, claimant, asked_at_ms: at_ms, lease_ms: 100 })
}

fn ran(at_ms: u64, process: u32, fence: u64) -> [Entry; 3] {
    [
        granted(at_ms, process, fence),
        entry(at_ms, process, Fact::Ran { key: key(1), fence }),
        entry(at_ms, process, Fact::Effect { key: key(1), fence }),
    ]
}

/// One event, published, handled and settled.
fn journal() -> Vec<Entry> {
    let mut entries =
        vec![entry(0, 1, Fact::Attempted { key: key(1) }), entry(1, 1, Fact::Acknowledged { key: key(1) })];
    entries.extend(ran(10, 2, 5));
    entries.push(entry(20, 2, Fact::Settled { key: key(1), fence: 5 }));
    entries
}

fn stored(sequence: u64) -> Stored {
    Stored { sequence, origin: sequence, key: Some(key(1)), unit: None, at: OffsetDateTime::UNIX_EPOCH }
}

fn found() -> Found {
    Found {
        stored: vec![stored(1)],
        due: vec![stored(1)],
        settled: HashSet::from([key(1)]),
        duplicate_window: Duration::from_secs(120),
        ..Found::default()
    }
}

fn must_find(entries: &[Entry], found: &Found, violation: &str) {
    let balance = audit(7, entries, found);
    let is_found = balance.violations().iter().any(|found| found.contains(violation));
    assert!(is_found, "{violation:?} was not found in {:?}", balance.violations());
}

#[test]
fn books_in_order_balance() {
    let balance = audit(7, &journal(), &found());
    assert_eq!(balance.violations(), [""; 0]);
    let counts = (balance.attempts, balance.acknowledged, balance.stored, balance.due, balance.settled);
    assert_eq!((counts, balance.runs, balance.effects, balance.seed), ((1, 1, 1, 1, 1), 1, 1, 7));
}

#[test]
fn what_is_wrong_with_stored_events_is_found() {
    let nothing = Found { stored: vec![], due: vec![], ..found() };
    must_find(&journal(), &nothing, "was acknowledged and is not stored");
    let twice = Found { stored: vec![stored(1), stored(2)], due: vec![stored(1), stored(2)], ..found() };
    must_find(&journal(), &twice, "stored again within the duplicate window");
    must_find(&journal()[2..], &found(), "never published, and is stored");
    must_find(&journal()[..1], &nothing, "of 1 publishes 0 ended");
    must_find(&journal(), &Found { due: vec![], ..found() }, "is stored and the durable is not due it");
    must_find(&journal(), &Found { due: vec![stored(1), stored(1)], ..found() }, "forwarded twice");
    must_find(&journal(), &Found { stored: vec![], ..found() }, "forwarded and is not stored");
}

#[test]
fn what_is_wrong_with_endings_is_found() {
    must_find(&journal(), &Found { settled: HashSet::new(), ..found() }, "neither settled");
    must_find(&journal(), &Found { dead_lettered: vec![1], ..found() }, "dead-lettered and settled");
    must_find(&journal(), &Found { dead_lettered: vec![1, 1], ..found() }, "two dead letters");
    must_find(&journal()[..2], &found(), "settled without an effect");
}

#[test]
fn what_is_wrong_with_claims_is_found() {
    let mut settled_twice = journal();
    settled_twice.push(entry(30, 3, Fact::Settled { key: key(1), fence: 4 }));
    must_find(&settled_twice, &found(), "settled by 2 grants");
    let mut granted_again = journal();
    granted_again.push(granted(500, 3, 6));
    must_find(&granted_again, &found(), "granted after it was settled");
    let mut early = journal();
    early.insert(2, granted(5, 3, 4));
    must_find(&early, &found(), "granted again 95 ms before its lease was over");
    let renewed = Fact::Renewed { key: key(1), fence: 4, asked_at_ms: 6, lease_ms: 100 };
    early.insert(3, entry(7, 3, renewed));
    must_find(&early, &found(), "granted again 96 ms before its lease was over");
    early.insert(4, entry(8, 3, Fact::Freed { key: key(1), fence: 4 }));
    assert_eq!(audit(7, &early, &found()).violations(), [""; 0]);
}

#[test]
fn only_a_crash_or_an_expiry_explains_an_extra_effect() {
    let with_first_run = |at_ms| {
        let mut entries = journal();
        entries.splice(2..2, ran(at_ms, 3, 4));
        entries
    };
    must_find(&with_first_run(5), &found(), "extra effect");
    let mut after_a_crash = with_first_run(5);
    after_a_crash.push(entry(6, 1, Fact::Crashed { victim: 3 }));
    let balance = audit(7, &after_a_crash, &found());
    assert_eq!((balance.violations().len(), balance.extra_effects, balance.crashes), (0, 1, 1));
    // Frozen in its handler, replaced, and gone on since.
    let mut late = with_first_run(5);
    let position = late.iter().position(|entry| matches!(entry.fact, Fact::Effect { fence: 4, .. })).unwrap();
    let zombie = late.remove(position);
    late.push(Entry { at_ms: 600, ..zombie });
    must_find(&late, &found(), "extra effect");
    for entry in late.iter_mut().filter(|entry| entry.process == 2) {
        entry.at_ms += 200;
    }
    assert_eq!(audit(7, &late, &found()).violations(), [""; 0]);
    let after_the_lease: Vec<_> = with_first_run(0)
        .into_iter()
        .map(|entry| Entry {
            at_ms: if entry.process == 2 { entry.at_ms + 100 } else { entry.at_ms },
            ..entry
        })
        .collect();
    let balance = audit(7, &after_the_lease, &found());
    assert_eq!((balance.violations().len(), balance.extra_effects, balance.expiries), (0, 1, 1));
}
