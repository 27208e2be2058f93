//! The decisions about a delivery: a pure function from an observation to the next step.
//!
//! `process.rs` carries the steps out and reports what it observed. The rules are those of the design:
//! nothing is acknowledged before its effect is settled or its dead letter is stored, and nothing is sent to the
//! server by a worker that lost its claim.

use crate::{
    consumer::delivery::company::LAPSES_IN_COMPANY, dead_letter::DeadLetterReason, dedupe::Claim, jitter,
};
use std::time::Duration;

/// The shortest delay, so that an event that cannot be processed is not redelivered in a tight loop.
const SHORTEST_DELAY: Duration = Duration::from_millis(100);

/// The longest delay before a dead letter that could not be stored is tried again.
const LONGEST_POSTPONEMENT: Duration = Duration::from_secs(60);

/// The settings that decisions depend on.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) max_attempts: u32,
    pub(crate) retry_delays: Vec<Duration>,
    /// Retry a delivery in place, before its successors, and not through the server.
    pub(crate) in_place: bool,
}

/// The facts known about a delivery when a step is decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    /// The number of attempts that count, this one included; 0 before the claim.
    pub(crate) attempt: u32,
    /// The number of times that the server delivered the message, this time included.
    pub(crate) deliveries: u64,
    /// There is a claim to give back.
    pub(crate) is_claimed: bool,
    /// Nothing else of this process holds a claim, or can get one.
    pub(crate) is_alone: bool,
    /// While the circuit breaker of its type is open: how long it is to wait before it is offered again.
    pub(crate) pause: Option<Duration>,
    /// The reason to dead-letter it, if that was decided before and the dead letter could not be stored.
    pub(crate) postponed: Option<DeadLetterReason>,
    /// Spreads delays. The same for every step of one delivery.
    pub(crate) random: u64,
}

/// An observation of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// The message is not a valid envelope.
    Invalid,
    /// The store answered the claim.
    Claimed(Claim),
    /// The store did not answer the claim; `failures` in a row.
    ClaimFailed { failures: u32 },
    /// Shutdown was asked for before the handler started, or the consumer was re-pinned.
    Draining,
    /// The circuit breaker does not let the handler begin.
    NotAdmitted,
    /// The handler ended.
    Handled(Outcome),
    /// The dead letter is stored by the broker, or could not be.
    DeadLettered { reason: DeadLetterReason, stored: bool },
    /// The store answered a write, or did not.
    Wrote(Write, Written),
}

/// The outcome of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    /// Failed, timed out or panicked; with the delay that the handler asked for.
    Failed(Option<Duration>),
    Rejected,
    /// Deferred, since something that the handler depends on is away; with the delay that the handler asked for.
    Away(Option<Duration>),
    /// Dropped at the end of the shutdown grace, or because the lease was lost.
    Cancelled,
}

/// A write to the store, with the answer to the server once it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Settle,
    Release(Ending),
    /// The event is not at fault for not being handled; it costs no attempt.
    Defer(Ending),
    /// As [`Defer`](Self::Defer); then it is claimed again and runs alone.
    Isolate,
    Forget(DeadLetterReason),
}

/// The result of a write to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Written {
    Done,
    /// Another worker owns the slot.
    Fenced,
    /// The store did not answer, and may have written or not.
    Failed {
        /// There is no time to try again.
        is_last: bool,
    },
}

/// The next step of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Claims the slot after a pause, during which heartbeats keep the message in flight. `alone`: once nothing else
    /// of this process holds a claim, and so that nothing else gets one.
    Claim { after: Duration, alone: bool },
    /// Runs the handler.
    Run,
    /// Publishes a dead letter and waits until it is stored.
    DeadLetter(DeadLetterReason),
    /// Writes to the store after a pause.
    Write { what: Write, after: Duration },
    /// Answers the server, if there is an answer, and drops the message.
    End(Ending),
}

/// The end of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// Handled and settled: ack.
    Handled,
    /// Settled earlier: ack.
    Duplicate,
    /// The attempt failed and is to be repeated: NAK with delay.
    Retried(Duration),
    /// Not handled through no fault of its own: NAK with delay.
    Deferred(Duration),
    /// The dead letter could not be stored and is to be written later: NAK with delay.
    Postponed(Duration),
    /// The dead letter is stored: term.
    DeadLettered(DeadLetterReason),
    /// Given back at shutdown: NAK.
    Returned,
    /// Waits behind a handler that blocks its thread, given back for another process: NAK with delay.
    BehindStalled(Duration),
    /// Another worker owns it, or its ownership is not known: nothing is sent, and the server redelivers it.
    Abandoned,
}

impl Ending {
    /// Returns whether the server delivers the event again.
    pub(crate) const fn comes_again(self) -> bool {
        match self {
            Self::Handled | Self::Duplicate | Self::DeadLettered(_) => false,
            Self::Retried(_)
            | Self::Deferred(_)
            | Self::Postponed(_)
            | Self::Returned
            | Self::BehindStalled(_)
            | Self::Abandoned => true,
        }
    }

    /// Returns one word for each, for metrics and spans.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Retried(_) => "retried",
            Self::Deferred(_) => "deferred",
            Self::Postponed(_) => "postponed",
            Self::DeadLettered(_) => "dead_lettered",
            Self::Returned | Self::BehindStalled(_) => "returned",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The longest pause before a held slot is claimed again: its owner may settle long before its lease expires.
const HELD_PAUSE: Duration = Duration::from_secs(1);
const CLAIM_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_CLAIM_PAUSE: Duration = Duration::from_secs(5);
const WRITE_PAUSE: Duration = Duration::from_millis(200);

/// Returns the next step after an observation.
pub(crate) fn decide(policy: &Policy, at: Position, observed: Observed) -> Step {
    match observed {
        Observed::Invalid => Step::DeadLetter(DeadLetterReason::Invalid),
        Observed::Draining => hand_back(at, Ending::Returned),
        Observed::NotAdmitted => {
            let after = at.pause.unwrap_or(SHORTEST_DELAY);
            if policy.in_place && !at.is_claimed {
                claim(after)
            } else {
                hand_back(at, Ending::Deferred(after))
            }
        }
        Observed::Claimed(claim) => after_claim(policy, at, claim),
        Observed::ClaimFailed { failures } => {
            let pause = CLAIM_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_CLAIM_PAUSE);
            Step::Claim { after: jitter::spread_by(pause, at.random), alone: at.is_alone }
        }
        Observed::Handled(outcome) => after_handler(policy, at, outcome),
        Observed::DeadLettered { reason, stored: true } if at.is_claimed => write(Write::Forget(reason)),
        Observed::DeadLettered { reason, stored: true } => Step::End(Ending::DeadLettered(reason)),
        // The dead-letter stream is away, and not the event's fault.
        Observed::DeadLettered { stored: false, .. } => {
            let tries = u64::from(at.attempt).max(at.deliveries);
            hand_back(at, Ending::Postponed(policy.delay(tries, at.random).min(LONGEST_POSTPONEMENT)))
        }
        Observed::Wrote(what, written) => after_write(policy, what, written),
    }
}

fn after_claim(policy: &Policy, at: Position, claim: Claim) -> Step {
    match claim {
        Claim::Settled => Step::End(Ending::Duplicate),
        // Not acked on the strength of another claim: that one may still fail.
        Claim::Held { retry_in } => {
            let after = jitter::spread_by(retry_in.clamp(CLAIM_PAUSE, HELD_PAUSE), at.random);
            Step::Claim { after, alone: at.is_alone }
        }
        Claim::Acquired { attempt, lapsed, .. } => match at.postponed {
            Some(reason) => Step::DeadLetter(reason),
            // Its attempts killed their processes.
            None if counted(attempt, lapsed) > policy.max_attempts => {
                Step::DeadLetter(DeadLetterReason::Exhausted)
            }
            None if lapsed >= LAPSES_IN_COMPANY && !at.is_alone => write(Write::Isolate),
            None => Step::Run,
        },
    }
}

/// Returns the number of attempts that count: claims that expired in company say nothing of the event.
pub(crate) fn counted(attempt: u32, lapsed: u32) -> u32 {
    attempt.saturating_sub(lapsed.min(LAPSES_IN_COMPANY))
}

fn after_handler(policy: &Policy, at: Position, outcome: Outcome) -> Step {
    let delay = || policy.delay(at.attempt.into(), at.random);
    match outcome {
        Outcome::Done => write(Write::Settle),
        Outcome::Rejected => Step::DeadLetter(DeadLetterReason::Rejected),
        Outcome::Failed(asked) | Outcome::Away(asked) if at.pause.is_some() => {
            let pause = at.pause.unwrap_or_default().max(asked.unwrap_or_default());
            hand_back(at, Ending::Deferred(pause))
        }
        Outcome::Away(asked) => hand_back(at, Ending::Deferred(asked.unwrap_or_else(delay))),
        Outcome::Failed(_) if at.attempt >= policy.max_attempts => {
            Step::DeadLetter(DeadLetterReason::Exhausted)
        }
        Outcome::Failed(asked) => write(Write::Release(Ending::Retried(asked.unwrap_or_else(delay)))),
        Outcome::Cancelled => hand_back(at, Ending::Returned),
    }
}

fn after_write(policy: &Policy, what: Write, written: Written) -> Step {
    match (written, what) {
        (
            Written::Done,
            Write::Release(Ending::Retried(after))
            | Write::Defer(Ending::Deferred(after) | Ending::Postponed(after)),
        ) if policy.in_place => claim(after),
        (Written::Done, Write::Settle) => Step::End(Ending::Handled),
        (Written::Done, Write::Release(ending) | Write::Defer(ending)) => Step::End(ending),
        (Written::Done, Write::Isolate) => Step::Claim { after: Duration::ZERO, alone: true },
        (Written::Done, Write::Forget(reason)) => Step::End(Ending::DeadLettered(reason)),
        (Written::Failed { is_last: false }, what) => Step::Write { what, after: WRITE_PAUSE },
        // It keeps its place until its fate is known.
        (Written::Fenced | Written::Failed { is_last: true }, _) if policy.in_place => claim(HELD_PAUSE),
        // JetStream acks are not fenced: a late one would settle the other worker's delivery.
        (Written::Fenced | Written::Failed { is_last: true }, _) => Step::End(Ending::Abandoned),
    }
}

/// Gives the event back without a count, since it is not at fault: to another process, or to this one later.
fn hand_back(at: Position, ending: Ending) -> Step {
    if at.is_claimed { write(Write::Defer(ending)) } else { Step::End(ending) }
}

fn write(what: Write) -> Step {
    Step::Write { what, after: Duration::ZERO }
}

fn claim(after: Duration) -> Step {
    Step::Claim { after, alone: false }
}

impl Policy {
    /// Returns the delay after so many tries.
    fn delay(&self, tries: u64, random: u64) -> Duration {
        let index = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = self.retry_delays.get(index).or(self.retry_delays.last()).copied().unwrap_or_default();
        jitter::spread_by(delay, random)
    }
}

/// Shortens a delay that the event would not survive to half of what is `remaining` of its time in the stream, so that
/// every attempt and its dead letter come in time.
pub(crate) fn capped(step: Step, remaining: impl FnOnce() -> Option<Duration>) -> Step {
    let cap = |delay: Duration| match remaining() {
        Some(remaining) => delay.min((remaining / 2).max(SHORTEST_DELAY)),
        None => delay,
    };
    let cap_ending = |ending| match ending {
        Ending::Retried(delay) => Ending::Retried(cap(delay)),
        Ending::Deferred(delay) => Ending::Deferred(cap(delay)),
        Ending::Postponed(delay) => Ending::Postponed(cap(delay)),
        other => other,
    };
    match step {
        Step::Write { what: Write::Release(ending), after } => {
            Step::Write { what: Write::Release(cap_ending(ending)), after }
        }
        Step::Write { what: Write::Defer(ending), after } => {
            Step::Write { what: Write::Defer(cap_ending(ending)), after }
        }
        Step::End(ending) => Step::End(cap_ending(ending)),
        other => other,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
