//! The decisions, proven against everything that can happen to one event within bounds.
//!
//! [`decide`](crate::consumer::decide::decide) is driven through all interleavings of two workers, one slot and three
//! deliveries, with up to two faults in any combination: a crash anywhere, a lease that ends, and a failed call, which
//! was carried out but not answered, was never carried out, or is carried out long after it was given up. Ack waits
//! end, handlers fail and shutdowns come at any time. Answers to the broker are not fenced. The same search finds the
//! flaw of every protocol in `protocol.rs`, so it can find one.

mod actions;
mod answers;
mod crashes;
mod properties;
mod protocol;
mod search;
mod state;
mod store;

use crate::consumer::delivery::decide::{Ending, Policy, Step, Write};
use actions::Rules;
use properties::Violation;
use protocol::Protocol;
use search::explore;
use state::{Message, State};
use std::{collections::HashSet, mem::discriminant, time::Duration};

fn rules(protocol: Protocol, in_place: bool, most_faults: u8) -> Rules {
    let policy = Policy { max_attempts: 2, retry_delays: vec![Duration::ZERO], in_place };
    Rules { policy, protocol, most_faults }
}

fn keeps_every_promise(in_place: bool, most_faults: u8) {
    let rules = rules(Protocol::Right, in_place, most_faults);
    let explored = explore(&rules).unwrap_or_else(|found| panic!("{found:?}"));
    println!("{} states in place: {in_place}, faults: {most_faults}", explored.len());
    assert!(explored.len() > 50_000);
    // It went everywhere: to every way that a delivery can end, and to every fate of the event.
    let ending = |step| if let Step::End(ending) = step { Some(discriminant(&ending)) } else { None };
    let deliveries = explored.keys().flat_map(|state| state.workers).flatten();
    let endings: HashSet<_> = deliveries.filter_map(|delivery| ending(delivery.step)).collect();
    let none = Duration::ZERO;
    let left_to_the_server =
        [Ending::Retried(none), Ending::Deferred(none), Ending::Postponed(none), Ending::Abandoned];
    for ending in left_to_the_server {
        assert_eq!(endings.contains(&discriminant(&ending)), !in_place, "{ending:?}");
    }
    assert_eq!(endings.len(), if in_place { 4 } else { 8 });
    let reaches = |fate: fn(&State) -> bool| explored.keys().any(fate);
    assert!(reaches(|state| state.message == Message::Acked && state.history.effects == 1));
    assert!(reaches(|state| state.message == Message::Termed && state.history.effects == 0));
    assert!(reaches(|state| state.history.effects == 2));
    let defers = Step::Write { what: Write::Defer(Ending::Returned), after: Duration::ZERO };
    assert!(explored.keys().any(|state| state.workers.iter().flatten().any(|at| at.step == defers)));
}

#[test]
fn every_promise_is_kept_in_every_state() {
    keeps_every_promise(false, 2);
}

#[test]
fn every_promise_is_kept_in_every_state_with_retries_in_place() {
    keeps_every_promise(true, 2);
}

#[test]
#[ignore = "takes a minute: run it after a change of the decisions"]
fn every_promise_is_kept_in_every_state_after_three_faults() {
    keeps_every_promise(false, 3);
    keeps_every_promise(true, 3);
}

#[test]
fn every_wrong_protocol_is_found_out() {
    let wrong = [
        (Protocol::ChecksThenMarks, Violation::RepeatedEffect),
        (Protocol::MarksFirst, Violation::Lost),
        (Protocol::AcksHeld, Violation::Lost),
        (Protocol::AcksFenced, Violation::Lost),
        (Protocol::SettlesUnfenced, Violation::StaleWrite),
        (Protocol::AcksBeforeSettling, Violation::Lost),
        (Protocol::TermsBeforeDeadLetter, Violation::Lost),
        (Protocol::ClaimsAnew, Violation::RefusedItsOwn),
        (Protocol::ReleasesByForgetting, Violation::TooManyRuns),
        (Protocol::ForgetsDecisions, Violation::DecidedAgain),
        (Protocol::DefersByReleasing, Violation::Blameless),
        (Protocol::DefersByForgetting, Violation::TooManyRuns),
        (Protocol::CountsProbes, Violation::Blameless),
        (Protocol::RenewsUnfenced, Violation::StaleWrite),
        (Protocol::CountsLapses, Violation::Blameless),
        (Protocol::NeverIsolates, Violation::SuspectInCompany),
    ];
    for (protocol, violation) in wrong {
        // Attempts in place need no deliveries, of which there are few.
        let in_place = protocol == Protocol::DefersByForgetting;
        let found = explore(&rules(protocol, in_place, 2)).expect_err("no flaw is found");
        println!("{protocol:?}: {found:?}");
        assert_eq!(found.violation, violation, "{protocol:?}: {found:?}");
    }
}
