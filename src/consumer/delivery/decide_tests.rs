use super::*;
use crate::dedupe::Fence;

fn policy() -> Policy {
    Policy {
        max_attempts: 3,
        retry_delays: vec![Duration::from_secs(1), Duration::from_secs(10)],
        in_place: false,
    }
}

fn claimed(attempt: u32) -> Position {
    Position { attempt, is_claimed: true, ..UNCLAIMED }
}

const UNCLAIMED: Position = Position {
    attempt: 0,
    deliveries: 1,
    is_claimed: false,
    is_alone: false,
    pause: None,
    postponed: None,
    random: 20,
};

fn acquired(attempt: u32) -> Observed {
    expired(attempt, 0)
}

fn expired(attempt: u32, lapsed: u32) -> Observed {
    Observed::Claimed(Claim::Acquired { fence: Fence::new(7), attempt, lapsed })
}

#[test]
fn invalid_messages_are_dead_lettered_and_then_terminated() {
    let reason = DeadLetterReason::Invalid;
    assert_eq!(decide(&policy(), UNCLAIMED, Observed::Invalid), Step::DeadLetter(reason));
    let stored = Observed::DeadLettered { reason, stored: true };
    assert_eq!(decide(&policy(), UNCLAIMED, stored), Step::End(Ending::DeadLettered(reason)));
}

#[test]
fn nothing_is_terminated_while_its_dead_letter_is_not_stored() {
    let failed = Observed::DeadLettered { reason: DeadLetterReason::Invalid, stored: false };
    let postponed = Ending::Postponed(Duration::from_secs(1));
    assert_eq!(decide(&policy(), UNCLAIMED, failed), Step::End(postponed));
    // The attempt is handed back: the event is not at fault.
    assert_eq!(decide(&policy(), claimed(1), failed), write(Write::Defer(postponed)));
}

#[test]
fn what_was_decided_is_not_decided_again() {
    for reason in [DeadLetterReason::Rejected, DeadLetterReason::Exhausted] {
        let at = |attempt| Position { postponed: Some(reason), ..claimed(attempt) };
        for attempt in [1, 3, 99] {
            assert_eq!(decide(&policy(), at(attempt), acquired(attempt)), Step::DeadLetter(reason));
        }
        let settled = decide(&policy(), at(1), Observed::Claimed(Claim::Settled));
        assert_eq!(settled, Step::End(Ending::Duplicate));
    }
}

#[test]
fn settled_slots_are_acknowledged_and_held_ones_are_not() {
    assert_eq!(decide(&policy(), UNCLAIMED, Observed::Claimed(Claim::Settled)), Step::End(Ending::Duplicate));
    let held = Observed::Claimed(Claim::Held { retry_in: Duration::from_secs(30) });
    assert_eq!(decide(&policy(), UNCLAIMED, held), claim(HELD_PAUSE));
}

#[test]
fn a_store_that_fails_is_asked_again_ever_more_slowly() {
    let mut last = Duration::ZERO;
    for failures in [0, 1, 5, 50, u32::MAX] {
        let Step::Claim { after, .. } = decide(&policy(), UNCLAIMED, Observed::ClaimFailed { failures })
        else {
            panic!("must claim again");
        };
        assert!(after >= last && after <= LONGEST_CLAIM_PAUSE);
        last = after;
    }
    assert_eq!(last, LONGEST_CLAIM_PAUSE);
}

#[test]
fn attempts_beyond_the_limit_never_reach_the_handler() {
    assert_eq!(decide(&policy(), claimed(3), acquired(3)), Step::Run);
    assert_eq!(decide(&policy(), claimed(4), acquired(4)), Step::DeadLetter(DeadLetterReason::Exhausted));
    // However often it was given back.
    let often = Position { deliveries: 1_000_000, ..claimed(1) };
    assert_eq!(decide(&policy(), often, acquired(1)), Step::Run);
}

#[test]
fn claims_that_expired_in_company_do_not_count() {
    assert_eq!(decide(&policy(), claimed(1), expired(2, 1)), Step::Run);
    // From the second on it runs alone, and what expires then counts.
    assert_eq!(decide(&policy(), claimed(1), expired(3, 2)), write(Write::Isolate));
    let alone = Step::Claim { after: Duration::ZERO, alone: true };
    assert_eq!(decide(&policy(), claimed(1), Observed::Wrote(Write::Isolate, Written::Done)), alone);
    let at = Position { is_alone: true, ..claimed(1) };
    for (attempt, lapsed) in [(3, 2), (4, 3), (5, 4)] {
        assert_eq!(decide(&policy(), at, expired(attempt, lapsed)), Step::Run);
    }
    assert_eq!(decide(&policy(), at, expired(6, 5)), Step::DeadLetter(DeadLetterReason::Exhausted));
    // A store that does not answer, or a claim of another process, does not let it join the others.
    let held = Observed::Claimed(Claim::Held { retry_in: Duration::ZERO });
    for seen in [held, Observed::ClaimFailed { failures: 1 }] {
        assert!(matches!(decide(&policy(), at, seen), Step::Claim { alone: true, .. }), "{seen:?}");
    }
}

#[test]
fn failures_while_the_breaker_is_open_cost_no_attempt() {
    let pause = Duration::from_secs(5);
    let at = |attempt| Position { pause: Some(pause), ..claimed(attempt) };
    for outcome in [Outcome::Failed(None), Outcome::Failed(Some(pause / 2)), Outcome::Away(None)] {
        let step = decide(&policy(), at(3), Observed::Handled(outcome));
        assert_eq!(step, write(Write::Defer(Ending::Deferred(pause))), "{outcome:?}");
    }
    let longer = decide(&policy(), at(1), Observed::Handled(Outcome::Away(Some(pause * 2))));
    assert_eq!(longer, write(Write::Defer(Ending::Deferred(pause * 2))));
    // Without a breaker the event waits for itself.
    let without = decide(&policy(), claimed(3), Observed::Handled(Outcome::Away(None)));
    assert_eq!(without, write(Write::Defer(Ending::Deferred(Duration::from_secs(10)))));
    // A bad event is one on a bad day, too.
    let rejected = decide(&policy(), at(1), Observed::Handled(Outcome::Rejected));
    assert_eq!(rejected, Step::DeadLetter(DeadLetterReason::Rejected));
}

#[test]
fn what_is_not_admitted_is_given_back_or_waits_in_its_place() {
    let pause = Duration::from_secs(5);
    let unclaimed = Position { pause: Some(pause), ..UNCLAIMED };
    let claimed = Position { pause: Some(pause), ..claimed(1) };
    let deferred = Ending::Deferred(pause);
    assert_eq!(decide(&policy(), unclaimed, Observed::NotAdmitted), Step::End(deferred));
    assert_eq!(decide(&policy(), claimed, Observed::NotAdmitted), write(Write::Defer(deferred)));
    let in_place = Policy { in_place: true, ..policy() };
    assert_eq!(decide(&in_place, unclaimed, Observed::NotAdmitted), claim(pause));
    let written = Observed::Wrote(Write::Defer(deferred), Written::Done);
    assert_eq!(decide(&in_place, claimed, written), claim(pause));
}

#[test]
fn failures_are_retried_with_the_delay_of_their_attempt() {
    let seconds = Duration::from_secs;
    for (attempt, asked, delay) in [(1, None, 1), (2, None, 10), (2, Some(seconds(3)), 3)] {
        let step = decide(&policy(), claimed(attempt), Observed::Handled(Outcome::Failed(asked)));
        assert_eq!(step, write(Write::Release(Ending::Retried(seconds(delay)))));
    }
    let last = decide(&policy(), claimed(3), Observed::Handled(Outcome::Failed(Some(seconds(3)))));
    assert_eq!(last, Step::DeadLetter(DeadLetterReason::Exhausted));
    let rejected = decide(&policy(), claimed(1), Observed::Handled(Outcome::Rejected));
    assert_eq!(rejected, Step::DeadLetter(DeadLetterReason::Rejected));
}

#[test]
fn nothing_is_acknowledged_before_it_is_settled() {
    assert_eq!(decide(&policy(), claimed(1), Observed::Handled(Outcome::Done)), write(Write::Settle));
    let settled = Observed::Wrote(Write::Settle, Written::Done);
    assert_eq!(decide(&policy(), claimed(1), settled), Step::End(Ending::Handled));
}

#[test]
fn a_dead_letter_is_forgotten_before_it_is_terminated() {
    let reason = DeadLetterReason::Exhausted;
    let stored = Observed::DeadLettered { reason, stored: true };
    assert_eq!(decide(&policy(), claimed(3), stored), write(Write::Forget(reason)));
    let forgotten = Observed::Wrote(Write::Forget(reason), Written::Done);
    assert_eq!(decide(&policy(), claimed(3), forgotten), Step::End(Ending::DeadLettered(reason)));
}

#[test]
fn whoever_lost_the_claim_tells_the_server_nothing() {
    let release = Write::Release(Ending::Retried(Duration::ZERO));
    let defer = Write::Defer(Ending::Returned);
    let forget = Write::Forget(DeadLetterReason::Rejected);
    for what in [Write::Settle, release, defer, Write::Isolate, forget] {
        for written in [Written::Fenced, Written::Failed { is_last: true }] {
            let step = decide(&policy(), claimed(1), Observed::Wrote(what, written));
            assert_eq!(step, Step::End(Ending::Abandoned));
        }
        let again = decide(&policy(), claimed(1), Observed::Wrote(what, Written::Failed { is_last: false }));
        assert_eq!(again, Step::Write { what, after: WRITE_PAUSE });
    }
}

#[test]
fn shutdown_gives_messages_back() {
    assert_eq!(decide(&policy(), UNCLAIMED, Observed::Draining), Step::End(Ending::Returned));
    // With the attempt, where one was counted.
    for seen in [Observed::Draining, Observed::Handled(Outcome::Cancelled)] {
        assert_eq!(decide(&policy(), claimed(3), seen), write(Write::Defer(Ending::Returned)));
    }
    let deferred = Observed::Wrote(Write::Defer(Ending::Returned), Written::Done);
    assert_eq!(decide(&policy(), claimed(3), deferred), Step::End(Ending::Returned));
}

#[test]
fn in_place_nothing_is_answered_before_it_is_settled() {
    let policy = Policy { in_place: true, ..policy() };
    let after = Duration::from_secs(1);
    let failed = decide(&policy, claimed(1), Observed::Handled(Outcome::Failed(None)));
    let release = Write::Release(Ending::Retried(after));
    assert_eq!(failed, write(release));
    assert_eq!(decide(&policy, claimed(1), Observed::Wrote(release, Written::Done)), claim(after));
    for lost in [Written::Fenced, Written::Failed { is_last: true }] {
        let step = decide(&policy, claimed(1), Observed::Wrote(Write::Settle, lost));
        assert_eq!(step, claim(HELD_PAUSE));
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

fn delayed(delay: Duration, remaining: Option<Duration>) -> Duration {
    match capped(Step::End(Ending::Retried(delay)), || remaining) {
        Step::End(Ending::Retried(delay)) => delay,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_delay_outlasts_half_of_what_is_left() {
    assert_eq!(delayed(HOUR, Some(MINUTE)), MINUTE / 2);
    assert_eq!(delayed(MINUTE / 4, Some(MINUTE)), MINUTE / 4);
    assert_eq!(delayed(HOUR, Some(Duration::ZERO)), SHORTEST_DELAY);
    assert_eq!(delayed(HOUR, None), HOUR);
    let release = |delay| Step::Write { what: Write::Release(Ending::Postponed(delay)), after: MINUTE };
    assert_eq!(capped(release(HOUR), || Some(MINUTE)), release(MINUTE / 2));
}
