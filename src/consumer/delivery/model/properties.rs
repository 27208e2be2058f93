//! The properties that hold in every state.

use crate::consumer::delivery::{
    company::LAPSES_IN_COMPANY,
    model::{
        state::{Message, State},
        store::Status,
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Violation {
    /// The message is gone, with neither a settled effect nor a dead letter.
    Lost,
    /// The effect happened more often than crashes and lapsed leases explain.
    RepeatedEffect,
    /// A worker whose claim is another's changed the slot.
    StaleWrite,
    /// More attempts than allowed.
    TooManyRuns,
    /// A dead letter of an event that has done less wrong than it may: what failed while its circuit breaker was open,
    /// and what ended with its process beside others, is not the event's fault. Failed calls are counted as such.
    Blameless,
    /// The owner of a claim whose answer was lost was told that another has it.
    RefusedItsOwn,
    /// A worker ran the handler of an event that it had decided to dead-letter.
    DecidedAgain,
    /// An event whose claims expired twice was handled beside others.
    SuspectInCompany,
}

pub(super) fn violation(state: &State, max_attempts: u32) -> Option<Violation> {
    let history = state.history;
    let is_settled = state.slot.status == Status::Settled && history.effects > 0;
    let is_lost = match state.message {
        Message::Acked => !is_settled,
        Message::Termed => !state.is_dead_lettered,
        Message::Pending | Message::Unanswered => false,
    };
    let blame = history.faults_of_event + u32::from(history.failed_calls + history.deaths_alone);
    let excused = u32::from(history.deaths).min(LAPSES_IN_COMPANY);
    let checks = [
        (is_lost, Violation::Lost),
        (history.effects > 1 + history.deaths, Violation::RepeatedEffect),
        (history.runs > max_attempts + excused, Violation::TooManyRuns),
        (state.is_dead_lettered && blame < max_attempts, Violation::Blameless),
    ];
    let found = checks.into_iter().find_map(|(is_violated, violation)| is_violated.then_some(violation));
    found.or(history.misstep)
}
