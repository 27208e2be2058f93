//! The answers to the broker, and the steps before them, as far as states differ by them.

use crate::consumer::delivery::{
    decide::{Ending, Step, Write},
    model::state::Message,
};
use std::time::Duration;

/// Answers are not fenced: each one counts, no matter which worker sends it.
pub(super) fn answered(message: Message, ending: Ending) -> Message {
    match (message, ending) {
        (Message::Acked | Message::Termed, _) | (_, Ending::Abandoned) => message,
        (_, Ending::Handled | Ending::Duplicate) => Message::Acked,
        (_, Ending::DeadLettered(_)) => Message::Termed,
        (
            _,
            Ending::Retried(_)
            | Ending::Deferred(_)
            | Ending::Postponed(_)
            | Ending::Returned
            | Ending::BehindStalled(_),
        ) => Message::Pending,
    }
}

/// Time goes by of its own accord here, so that states which differ in a pause only are one.
pub(super) fn without_pauses(step: Step) -> Step {
    let none = Duration::ZERO;
    let ending = |ending| match ending {
        Ending::Retried(_) => Ending::Retried(none),
        Ending::Deferred(_) => Ending::Deferred(none),
        Ending::Postponed(_) => Ending::Postponed(none),
        other => other,
    };
    match step {
        Step::Claim { alone, .. } => Step::Claim { after: none, alone },
        Step::Write { what: Write::Release(then), .. } => {
            Step::Write { what: Write::Release(ending(then)), after: none }
        }
        Step::Write { what: Write::Defer(then), .. } => {
            Step::Write { what: Write::Defer(ending(then)), after: none }
        }
        Step::Write { what, .. } => Step::Write { what, after: none },
        Step::End(then) => Step::End(ending(then)),
        Step::Run | Step::DeadLetter(_) => step,
    }
}
