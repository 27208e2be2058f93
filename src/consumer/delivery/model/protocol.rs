//! The protocol that is built, and protocols that look plausible and are wrong.

use crate::{
    consumer::delivery::{
        decide::{self, Ending, Observed, Policy, Position, Step, Write, Written},
        model::{
            state::{InProcess, NEW_CLAIMANT},
            store::{Record, Status},
        },
    },
    dead_letter::DeadLetterReason,
    dedupe::Claim,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Right,
    /// Looks whether the slot is free, and takes it later.
    ChecksThenMarks,
    /// Marks the event as done when it begins.
    MarksFirst,
    /// Acknowledges what another has claimed.
    AcksHeld,
    /// Acknowledges what another has taken over.
    AcksFenced,
    SettlesUnfenced,
    AcksBeforeSettling,
    TermsBeforeDeadLetter,
    /// Repeats a claim as a stranger.
    ClaimsAnew,
    /// Forgets the attempts when it gives up a claim.
    ReleasesByForgetting,
    /// Forgets why it wanted to dead-letter an event.
    ForgetsDecisions,
    /// Counts a run that a shutdown has cut short.
    DefersByReleasing,
    /// Forgets the attempts with a run that a shutdown has cut short.
    DefersByForgetting,
    /// Counts a failure while the circuit breaker is open: that of a probe.
    CountsProbes,
    /// Renews a lease that was lost.
    RenewsUnfenced,
    /// Counts claims that expired in company as attempts.
    CountsLapses,
    /// Lets an event whose claims expired twice run beside others.
    NeverIsolates,
}

impl Protocol {
    pub(super) fn decide(self, policy: &Policy, at: Position, seen: Observed) -> Step {
        match (self, seen) {
            (Self::AcksHeld, Observed::Claimed(Claim::Held { .. })) => Step::End(Ending::Duplicate),
            (Self::AcksFenced, Observed::Wrote(_, Written::Fenced)) => Step::End(Ending::Handled),
            (Self::CountsProbes, Observed::Handled(_)) => {
                decide::decide(policy, Position { pause: None, ..at }, seen)
            }
            (Self::CountsLapses, Observed::Claimed(Claim::Acquired { fence, attempt, .. })) => {
                decide::decide(policy, at, Observed::Claimed(Claim::Acquired { fence, attempt, lapsed: 0 }))
            }
            (Self::NeverIsolates, _) => decide::decide(policy, Position { is_alone: true, ..at }, seen),
            (Self::ForgetsDecisions, _) => decide::decide(policy, Position { postponed: None, ..at }, seen),
            _ => decide::decide(policy, at, seen),
        }
    }

    /// Returns the answer that the server gets before a step begins.
    pub(super) fn says_early(self, step: Step) -> Option<Ending> {
        match (self, step) {
            (Self::AcksBeforeSettling, Step::Write { what: Write::Settle, .. }) => Some(Ending::Handled),
            (Self::TermsBeforeDeadLetter, Step::DeadLetter(reason)) => Some(Ending::DeadLettered(reason)),
            _ => None,
        }
    }

    /// Returns the value that a claim goes by, if that is not the slot itself.
    pub(super) fn checks(self, slot: Record) -> Option<Record> {
        (self == Self::ChecksThenMarks).then_some(slot)
    }

    pub(super) fn claim(self, slot: &mut Record, delivery: &InProcess) -> Claim {
        let mut target = delivery.checked.unwrap_or(*slot);
        let claim = target.claim(delivery.claimant);
        if let Claim::Acquired { .. } = claim {
            *slot = target;
        }
        if self == Self::MarksFirst && matches!(claim, Claim::Acquired { .. }) {
            slot.status = Status::Settled;
        }
        claim
    }

    pub(super) fn renew(self, slot: &mut Record, fence: u64) -> bool {
        if self == Self::RenewsUnfenced {
            slot.fence = fence;
        }
        slot.renew(fence)
    }

    pub(super) fn write(self, slot: &mut Record, what: Write, fence: u64) -> bool {
        match (self, what) {
            (Self::SettlesUnfenced, Write::Settle) => {
                slot.status = Status::Settled;
                true
            }
            // It is marked already.
            (Self::MarksFirst, Write::Settle) => true,
            (Self::ReleasesByForgetting, Write::Release(_)) | (Self::DefersByForgetting, Write::Defer(_)) => {
                slot.write(Write::Forget(DeadLetterReason::Rejected), fence)
            }
            (Self::DefersByReleasing, Write::Defer(_)) => slot.write(Write::Release(Ending::Returned), fence),
            _ => slot.write(what, fence),
        }
    }

    pub(super) fn repeats_claim_as(self, claimant: u8) -> u8 {
        if self == Self::ClaimsAnew { NEW_CLAIMANT } else { claimant }
    }
}
