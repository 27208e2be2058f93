//! The decisions about a delivery: a pure function from an observation to the next step.
//!
//! `process.rs` carries the steps out and reports what it observed. The rules are those of the design:
//! nothing is acknowledged before its effect is settled or its dead letter is stored, and nothing is sent to the
//! server by a worker that lost its claim.

use crate::{dead_letter::DeadLetterReason, dedupe::Claim, jitter};
use std::time::Duration;

/// The shortest delay, so that an event that cannot be processed is not redelivered in a tight loop.
const SHORTEST_DELAY: Duration = Duration::from_millis(100);

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
    /// The number of claims of the slot, this one included; 0 before the claim.
    pub(crate) attempt: u32,
    /// The number of times that the server delivered the message, this time included.
    pub(crate) deliveries: u64,
    /// There is a claim to give back.
    pub(crate) is_claimed: bool,
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
    /// Dropped at the end of the shutdown grace.
    Cancelled,
}

/// A write to the store, with the answer to the server once it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Settle,
    Release(Ending),
    /// The event is not at fault for not being handled; it costs no attempt.
    Defer,
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
        lease_expired: bool,
    },
}

/// The next step of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Claims the slot after a pause, during which heartbeats keep the message in flight.
    Claim { after: Duration },
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
    /// Returns one word for each, for metrics and spans.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Retried(_) => "retried",
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
        Observed::Draining => hand_back(at),
        Observed::Claimed(claim) => after_claim(policy, at, claim),
        Observed::ClaimFailed { failures } => {
            let pause = CLAIM_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_CLAIM_PAUSE);
            Step::Claim { after: jitter::spread_by(pause, at.random) }
        }
        Observed::Handled(outcome) => after_handler(policy, at, outcome),
        Observed::DeadLettered { reason, stored: true } if at.is_claimed => write(Write::Forget(reason)),
        Observed::DeadLettered { reason, stored: true } => Step::End(Ending::DeadLettered(reason)),
        Observed::DeadLettered { stored: false, .. } => give_back(at, Ending::Postponed(policy.delay(at))),
        Observed::Wrote(what, written) => after_write(policy, what, written),
    }
}

fn after_claim(policy: &Policy, at: Position, claim: Claim) -> Step {
    match claim {
        Claim::Settled => Step::End(Ending::Duplicate),
        // Not acked on the strength of another claim: that one may still fail.
        Claim::Held { retry_in } => {
            Step::Claim { after: jitter::spread_by(retry_in.clamp(CLAIM_PAUSE, HELD_PAUSE), at.random) }
        }
        Claim::Acquired { attempt, .. } => match at.postponed {
            Some(reason) => Step::DeadLetter(reason),
            None if attempt > policy.max_attempts || at.deliveries > policy.max_deliveries() => {
                Step::DeadLetter(DeadLetterReason::Exhausted)
            }
            None => Step::Run,
        },
    }
}

fn after_handler(policy: &Policy, at: Position, outcome: Outcome) -> Step {
    match outcome {
        Outcome::Done => write(Write::Settle),
        Outcome::Rejected => Step::DeadLetter(DeadLetterReason::Rejected),
        Outcome::Failed(_) if at.attempt >= policy.max_attempts => {
            Step::DeadLetter(DeadLetterReason::Exhausted)
        }
        Outcome::Failed(asked) => give_back(at, Ending::Retried(asked.unwrap_or_else(|| policy.delay(at)))),
        Outcome::Cancelled => hand_back(at),
    }
}

fn after_write(policy: &Policy, what: Write, written: Written) -> Step {
    match (written, what) {
        (Written::Done, Write::Release(Ending::Retried(after) | Ending::Postponed(after)))
            if policy.in_place =>
        {
            Step::Claim { after }
        }
        (Written::Done, Write::Settle) => Step::End(Ending::Handled),
        (Written::Done, Write::Release(ending)) => Step::End(ending),
        (Written::Done, Write::Defer) => Step::End(Ending::Returned),
        (Written::Done, Write::Forget(reason)) => Step::End(Ending::DeadLettered(reason)),
        (Written::Failed { lease_expired: false }, what) => Step::Write { what, after: WRITE_PAUSE },
        // It keeps its place until its fate is known.
        (Written::Fenced | Written::Failed { lease_expired: true }, _) if policy.in_place => {
            Step::Claim { after: HELD_PAUSE }
        }
        // JetStream acks are not fenced: a late one would settle the other worker's delivery.
        (Written::Fenced | Written::Failed { lease_expired: true }, _) => Step::End(Ending::Abandoned),
    }
}

fn give_back(at: Position, ending: Ending) -> Step {
    if at.is_claimed { write(Write::Release(ending)) } else { Step::End(ending) }
}

/// Gives the event back to another process, or to this one after a restart.
fn hand_back(at: Position) -> Step {
    if at.is_claimed { write(Write::Defer) } else { Step::End(Ending::Returned) }
}

fn write(what: Write) -> Step {
    Step::Write { what, after: Duration::ZERO }
}

impl Policy {
    /// Returns a limit far above what attempts could cause: a message beyond it kills its process before it is claimed.
    fn max_deliveries(&self) -> u64 {
        u64::from(self.max_attempts) * 10 + 40
    }

    /// Returns the delay after this attempt, or after this delivery where nothing was claimed.
    fn delay(&self, at: Position) -> Duration {
        let failures = if at.is_claimed { u64::from(at.attempt) } else { at.deliveries };
        let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = self.retry_delays.get(index).or(self.retry_delays.last()).copied().unwrap_or_default();
        jitter::spread_by(delay, at.random)
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
        Ending::Postponed(delay) => Ending::Postponed(cap(delay)),
        other => other,
    };
    match step {
        Step::Write { what: Write::Release(ending), after } => {
            Step::Write { what: Write::Release(cap_ending(ending)), after }
        }
        Step::End(ending) => Step::End(cap_ending(ending)),
        other => other,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
