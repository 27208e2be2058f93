use super::*;
use crate::{End, found::Stored};
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

fn key(number: u8) -> IdempotencyKey {
    format!("{number:064x}").parse().unwrap()
}

fn entry(at_ms: u64, process: u32, fact: Fact) -> Entry {
    Entry { at_ms, process, fact }
}

fn claimant(fence: u64) -> Uuid {
    Uuid::from_u128(fence.into())
}

fn granted(at_ms: u64, process: u32, fence: u64, attempt: u32, lapsed: u32) -> Entry {
    let (key, claimant, asked_at_ms, lease_ms) = (key(1), claimant(fence), at_ms, 100);
    entry(at_ms, process, Fact::Granted { key, fence, claimant, attempt, lapsed, asked_at_ms, lease_ms })
}

fn ending(at_ms: u64, fence: u64, end: End) -> Entry {
    entry(at_ms, 3, Fact::Ending { key: key(1), fence, end })
}

/// An end with its answer.
fn ended(at_ms: u64, fence: u64, end: End) -> [Entry; 2] {
    [ending(at_ms, fence, end), entry(at_ms, 3, Fact::Ended { key: key(1), fence, end })]
}

fn ran(at_ms: u64, process: u32, fence: u64) -> [Entry; 3] {
    [
        granted(at_ms, process, fence, 1, 0),
        entry(at_ms, process, Fact::Ran { key: key(1), fence }),
        entry(at_ms, process, Fact::Effect { key: key(1), fence }),
    ]
}

/// One event, published, handled and settled.
fn journal() -> Vec<Entry> {
    let mut entries =
        vec![entry(0, 1, Fact::Attempted { key: key(1) }), entry(1, 1, Fact::Acknowledged { key: key(1) })];
    entries.extend(ran(10, 2, 5));
    entries.extend(ended(20, 5, End::Settle));
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

fn letters(sequences: &[u64]) -> Vec<(u64, Option<DeadLetterReason>)> {
    sequences.iter().map(|sequence| (*sequence, Some(DeadLetterReason::Exhausted))).collect()
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
    must_find(&journal(), &Found { dead_lettered: letters(&[1]), ..found() }, "dead-lettered and settled");
    must_find(&journal(), &Found { dead_lettered: letters(&[1, 1]), ..found() }, "two dead letters");
    must_find(&journal()[..2], &found(), "settled without an effect");
}

#[test]
fn a_dead_letter_means_a_bad_event() {
    let dead = Found { dead_lettered: letters(&[1]), settled: HashSet::new(), ..found() };
    must_find(&journal(), &dead, "message 1 is dead-lettered (exhausted) and not bad");
    let bad = |reason| {
        let mut entries = journal();
        entries.insert(0, entry(0, 1, Fact::Condemned { key: key(1), reason }));
        entries
    };
    must_find(&bad(DeadLetterReason::Exhausted), &found(), "message 1 is bad and settled");
    must_find(&bad(DeadLetterReason::Rejected), &dead, "its dead letter does not say rejected");
    assert_eq!(audit(7, &bad(DeadLetterReason::Exhausted), &dead).violations(), [""; 0]);
    let pending = Found { dead_lettered: vec![], pending: 1, ..dead };
    assert_eq!(audit(7, &bad(DeadLetterReason::Exhausted), &pending).violations(), [""; 0]);
}

#[test]
fn what_is_wrong_with_claims_is_found() {
    let mut settled_twice = journal();
    settled_twice.splice(2..2, [vec![granted(0, 3, 4, 1, 0)], ended(1, 4, End::Settle).to_vec()].concat());
    must_find(&settled_twice, &found(), "settled by 2 grants");
    let mut granted_again = journal();
    granted_again.push(granted(500, 3, 6, 2, 0));
    must_find(&granted_again, &found(), "granted after it was settled");
    let mut early = journal();
    early.insert(2, granted(5, 3, 4, 1, 0));
    must_find(&early, &found(), "granted again 95 ms before its lease was over");
    let renewed = Fact::Renewed { key: key(1), fence: 4, asked_at_ms: 6, lease_ms: 100 };
    early.insert(3, entry(7, 3, renewed));
    must_find(&early, &found(), "granted again 96 ms before its lease was over");
    early.splice(4..4, ended(8, 4, End::Forget));
    assert_eq!(audit(7, &early, &found()).violations(), [""; 0]);
}

#[test]
fn what_a_grant_that_was_replaced_still_changes_is_found() {
    let replaced = || {
        let mut entries = journal();
        entries.splice(2..2, [vec![granted(0, 3, 4, 1, 0)], ended(1, 4, End::Forget).to_vec()].concat());
        entries
    };
    let mut renewed = replaced();
    let late = Fact::Renewed { key: key(1), fence: 4, asked_at_ms: 11, lease_ms: 100 };
    renewed.push(entry(12, 3, late));
    must_find(&renewed, &found(), "was renewed by grant 4 after grant 5");
    let mut freed = replaced();
    freed.push(ending(30, 4, End::Forget));
    assert_eq!(audit(7, &freed, &found()).violations(), [""; 0]);
    freed.extend(ended(31, 4, End::Forget));
    must_find(&freed, &found(), "was ended by grant 4 after grant 5");
}

/// Replays a grant of fence 1 with these facts after it, and then one of fence 2 with these counts.
fn replays(facts: &[Entry], attempt: u32, lapsed: u32) -> bool {
    let before = [vec![granted(0, 3, 1, 1, 0)], ended(1, 1, End::Release).to_vec()].concat();
    let entries =
        [&before[..], &[granted(200, 3, 2, 2, 0)], facts, &[granted(400, 3, 3, attempt, lapsed)]].concat();
    let nothing = Found::default();
    audit(7, &entries, &nothing).violations().iter().all(|violation| !violation.contains("does not follow"))
}

#[test]
fn counts_of_a_grant_follow_from_the_ends_before_it() {
    let possible = |facts: &[Entry]| {
        let counts = (0..5).flat_map(|attempt| (0..5).map(move |lapsed| (attempt, lapsed)));
        counts.filter(|(attempt, lapsed)| replays(facts, *attempt, *lapsed)).collect::<Vec<_>>()
    };
    assert_eq!(possible(&[]), [(3, 1)]);
    assert_eq!(possible(&ended(201, 2, End::Release)), [(3, 0)]);
    assert_eq!(possible(&ended(201, 2, End::Defer)), [(2, 0)]);
    assert_eq!(possible(&ended(201, 2, End::Forget)), [(1, 0)]);
    assert!(possible(&ended(201, 2, End::Settle)).is_empty());
    // Answers were lost.
    assert_eq!(possible(&[ending(201, 2, End::Defer)]), [(2, 0), (3, 1)]);
    assert_eq!(possible(&[ending(201, 2, End::Settle)]), [(3, 1)]);
    let claiming = |fence| entry(202, 3, Fact::Claiming { key: key(1), claimant: claimant(fence) });
    assert_eq!(possible(&[claiming(9)]), [(3, 1), (4, 2)]);
    // Asked again, and answered.
    assert_eq!(possible(&[claiming(3)]), [(3, 1)]);
    let declined = entry(203, 3, Fact::Declined { key: key(1), claimant: claimant(9) });
    assert_eq!(possible(&[claiming(9), declined]), [(3, 1)]);
    // The very claimant that holds it, whose answer was lost.
    let again = Fact::Granted {
        key: key(1),
        fence: 3,
        claimant: claimant(2),
        attempt: 2,
        lapsed: 0,
        asked_at_ms: 300,
        lease_ms: 100,
    };
    let entries = [granted(200, 3, 2, 2, 0), entry(300, 3, again)];
    let violations = audit(7, &entries, &Found::default()).violations;
    assert!(violations.iter().all(|violation| !violation.contains("2 with 0 lapses by 3")), "{violations:?}");
}

#[test]
fn only_a_crash_or_an_expiry_explains_an_extra_effect() {
    let with_first_run = |at_ms| {
        let mut entries = journal();
        entries.splice(2..2, ran(at_ms, 3, 4));
        // Carried out, or not: its answer was lost.
        entries.insert(5, ending(at_ms, 4, End::Forget));
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
