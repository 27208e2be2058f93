//! All that the fate of one event depends on: the broker, the store, two workers, and what went wrong so far.

use crate::{
    consumer::delivery::{
        decide::{Position, Step, Write, counted},
        model::{
            properties::Violation,
            store::{Record, Status},
        },
    },
    dead_letter::DeadLetterReason,
};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) message: Message,
    pub(super) deliveries: u8,
    pub(super) slot: Record,
    pub(super) is_dead_lettered: bool,
    pub(super) workers: [Option<InProcess>; 2],
    /// The reason of each worker for dead-lettering the event, if that could not be done yet.
    pub(super) postponed: [Option<DeadLetterReason>; 2],
    /// A call of the store that its worker has given up and that may be carried out yet.
    pub(super) late: Option<Call>,
    pub(super) history: History,
}

/// The message at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Message {
    /// To be delivered, for the first time or again.
    Pending,
    /// Delivered, and neither answered nor redelivered yet.
    Unanswered,
    Acked,
    Termed,
}

/// A delivery as `process.rs` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InProcess {
    pub(super) step: Step,
    pub(super) claimant: u8,
    /// Nothing else of its process holds a claim.
    pub(super) is_alone: bool,
    pub(super) grant: Option<Grant>,
    /// The grant led to a run.
    pub(super) has_run: bool,
    /// The last grant whose answer was lost.
    pub(super) unanswered: Option<Grant>,
    /// The slot as it was when this worker received the message, for a protocol that goes by it.
    pub(super) checked: Option<Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    pub(super) fence: u64,
    pub(super) attempt: u32,
    pub(super) lapsed: u32,
}

/// Unlike any claimant in a state; it gets its number when the state is complete.
pub(super) const NEW_CLAIMANT: u8 = u8::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Claim { claimant: u8 },
    Renew { fence: u64 },
    Write { what: Write, fence: u64, has_run: bool },
}

/// The history that no part of the system knows, and that the properties are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct History {
    pub(super) effects: u8,
    /// Crashes and leases that ended: each may cost one more effect.
    pub(super) deaths: u8,
    /// Those of them where the event ran alone.
    pub(super) deaths_alone: u8,
    /// Answers of the store, the broker and the dead-letter stream that were lost, and calls that were not carried out.
    pub(super) failed_calls: u8,
    /// Grants that led to a run since the slot was forgotten, and that were not deferred.
    pub(super) runs: u32,
    /// The failures of the event: each failed run is one, and a rejection is as many as there are attempts.
    pub(super) faults_of_event: u32,
    /// A step that must not happen, and did.
    pub(super) misstep: Option<Violation>,
}

impl State {
    pub(super) const START: Self = Self {
        message: Message::Pending,
        deliveries: 0,
        slot: Record::UNKNOWN,
        is_dead_lettered: false,
        workers: [None; 2],
        postponed: [None; 2],
        late: None,
        history: History {
            effects: 0,
            deaths: 0,
            deaths_alone: 0,
            failed_calls: 0,
            runs: 0,
            faults_of_event: 0,
            misstep: None,
        },
    };

    /// The same state with few numbers: states that differ in nothing but the names of claimants and fences are one.
    ///
    /// A worker's claimant has the worker's number. Of the others, whether they are one and the same counts; of a
    /// fence, whether it is the slot's.
    pub(super) fn renumbered(mut self) -> Self {
        let of_workers = self.workers.map(|worker| worker.map(|delivery| delivery.claimant));
        let holder = match self.slot.status {
            Status::Held { claimant, .. } => Some(claimant),
            Status::Free | Status::Settled => None,
        };
        let number = |claimant: u8| match of_workers.iter().position(|of| *of == Some(claimant)) {
            Some(0) => 1,
            Some(_) => 2,
            None if Some(claimant) == holder => 3,
            None => 4,
        };
        let current = self.slot.fence;
        let fence = |fence: u64| u64::from(fence == current);
        let renumbered =
            |grant: Option<Grant>| grant.map(|grant| Grant { fence: fence(grant.fence), ..grant });
        for delivery in self.workers.iter_mut().flatten() {
            delivery.claimant = number(delivery.claimant);
            delivery.grant = renumbered(delivery.grant);
            delivery.unanswered = renumbered(delivery.unanswered);
        }
        match &mut self.late {
            Some(Call::Claim { claimant }) => *claimant = number(*claimant),
            Some(Call::Renew { fence: of_call } | Call::Write { fence: of_call, .. }) => {
                *of_call = fence(*of_call);
            }
            None => {}
        }
        if let Status::Held { claimant, .. } = &mut self.slot.status {
            *claimant = number(*claimant);
        }
        self.slot.fence = 1;
        self
    }
}

impl History {
    pub(super) fn note(&mut self, has_happened: bool, misstep: Violation) {
        if has_happened {
            self.misstep = Some(misstep);
        }
    }

    pub(super) fn die(&mut self, is_alone: bool) {
        self.deaths += 1;
        self.deaths_alone += u8::from(is_alone);
    }

    pub(super) fn faults(&self) -> u8 {
        self.deaths + self.failed_calls
    }
}

impl InProcess {
    pub(super) fn position(&self, postponed: Option<DeadLetterReason>, is_open: bool) -> Position {
        Position {
            attempt: self.grant.map_or(0, |grant| counted(grant.attempt, grant.lapsed)),
            deliveries: 1,
            is_claimed: self.grant.is_some(),
            is_alone: self.is_alone,
            pause: is_open.then_some(Duration::ZERO),
            postponed,
            random: 0,
        }
    }
}
