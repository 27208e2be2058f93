//! Stores that renew or count lapses wrongly on purpose: these behaviours of the conformance suite are seen to fail.

use crate::must_fail::{Flaw, must_fail};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    dedupe::{Claim, DedupeStore, Fence, MemoryStore, Slot, SlotState, StoreError, StoreErrorKind},
    testing::conformance,
};
use uuid::Uuid;

/// The writes that end a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Settle,
    Release,
    Defer,
    Forget,
}

/// A fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    RenewalDoesNothing,
    RenewalShortens,
    RenewalChangesFence,
    RenewalBars(End),
    RenewalIsAnAttempt,
    RenewalIsALapse,
    RenewalForgetsClaimant,
    RenewalNeverLapses,
    RenewalIsUnfenced,
    LateRenewalIsFenced,
    StaleRenewalSucceeds,
    StaleRenewalRevives,
    StaleRenewalRevivesUnseen,
    StaleRenewalProlongsTheHeir,
    LapsesAreNotCounted,
    EndIsALapse(End),
    EndForgetsLapses(End),
    RepeatIsALapse,
    ForgetKeepsLapses,
}

/// The memory store, bent by a fault; its answers are otherwise right.
#[derive(Debug)]
struct Wrong {
    fault: Fault,
    right: MemoryStore,
    notes: Mutex<HashMap<Slot, Note>>,
}

/// The knowledge of a slot that a fault needs.
#[derive(Debug, Clone, Copy, Default)]
struct Note {
    newest: Option<Fence>,
    claimant: Uuid,
    attempt: u32,
    lapsed: u32,
    /// When the lease ends, as the fault has it.
    until: Option<Instant>,
    renewals: u32,
    repeats: u32,
    /// The ends that the fault counts as lapses.
    ended: u32,
    /// The lapses that are added to those counted, or forgotten.
    added: u32,
    forgotten: u32,
}

impl Flaw for Fault {
    fn store(self) -> Arc<dyn DedupeStore> {
        Arc::new(Wrong { fault: self, right: MemoryStore::new(), notes: Mutex::default() })
    }
}

impl Wrong {
    fn note(&self, slot: &Slot) -> Note {
        self.notes.lock().unwrap().get(slot).copied().unwrap_or_default()
    }

    fn change(&self, slot: &Slot, change: impl FnOnce(&mut Note)) {
        change(self.notes.lock().unwrap().entry(slot.clone()).or_default());
    }

    async fn claim_wrongly(&self, slot: &Slot, lease: Duration) -> Result<Claim, StoreError> {
        let before = self.note(slot);
        let is_over = before.until.is_some_and(|until| until <= Instant::now());
        if self.fault == Fault::RenewalShortens && before.renewals > 0 && is_over {
            let _ignored = self.right.release(slot, before.newest.unwrap()).await;
        }
        let stranger = Slot::new(slot.consumer().clone(), slot.key());
        let is_unknown = self.fault == Fault::RenewalForgetsClaimant && before.renewals > 0;
        let claim = self.right.claim(if is_unknown { &stranger } else { slot }, lease).await?;
        let Claim::Acquired { fence, attempt, lapsed } = claim else { return Ok(claim) };
        self.change(slot, |note| {
            note.repeats += u32::from(note.claimant == slot.claimant() && note.attempt == attempt);
            (note.newest, note.claimant, note.attempt) = (Some(fence), slot.claimant(), attempt);
            (note.lapsed, note.until) = (lapsed, Some(Instant::now() + lease));
        });
        let note = self.note(slot);
        let (attempt, lapsed) = match self.fault {
            Fault::RenewalIsAnAttempt => (attempt + note.renewals, lapsed),
            Fault::RenewalIsALapse => (attempt, lapsed + note.renewals),
            Fault::LapsesAreNotCounted => (attempt, 0),
            Fault::EndIsALapse(_) => (attempt, lapsed + note.ended),
            Fault::EndForgetsLapses(_) => (attempt, lapsed - note.forgotten),
            Fault::RepeatIsALapse => (attempt, lapsed + note.repeats),
            Fault::ForgetKeepsLapses => (attempt, lapsed + note.added),
            _ => (attempt, lapsed),
        };
        Ok(Claim::Acquired { fence, attempt, lapsed })
    }

    async fn renew_wrongly(&self, slot: &Slot, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        let fenced = || Err(StoreError::new(StoreErrorKind::Fenced));
        let note = self.note(slot);
        let lease = if self.fault == Fault::RenewalNeverLapses { Duration::from_hours(1) } else { lease };
        let renewed = match self.fault {
            Fault::RenewalDoesNothing => return Ok(()),
            Fault::RenewalChangesFence => return self.right.claim(slot, lease).await.map(|_| ()),
            Fault::RenewalIsUnfenced => {
                return self.right.renew(slot, note.newest.unwrap_or(fence), lease).await;
            }
            Fault::LateRenewalIsFenced if note.until.is_some_and(|until| until <= Instant::now()) => {
                return fenced();
            }
            _ => self.right.renew(slot, fence, lease).await,
        };
        if renewed.is_ok() {
            self.change(slot, |note| {
                note.renewals += 1;
                note.until = Some(Instant::now() + lease);
            });
            return renewed;
        }
        match self.fault {
            Fault::StaleRenewalSucceeds => Ok(()),
            Fault::StaleRenewalRevives => match self.right.claim(slot, lease).await? {
                Claim::Acquired { .. } => Ok(()),
                _ => fenced(),
            },
            Fault::StaleRenewalRevivesUnseen => {
                self.right.claim(slot, lease).await?;
                fenced()
            }
            Fault::StaleRenewalProlongsTheHeir => {
                let _ignored = self.right.renew(slot, note.newest.unwrap_or(fence), lease).await;
                fenced()
            }
            _ => renewed,
        }
    }

    async fn end(&self, slot: &Slot, fence: Fence, end: End) -> Result<(), StoreError> {
        let note = self.note(slot);
        if self.fault == Fault::RenewalBars(end) && note.renewals > 0 {
            return Err(StoreError::new(StoreErrorKind::Fenced));
        }
        match end {
            End::Settle => self.right.settle(slot, fence).await?,
            End::Release => self.right.release(slot, fence).await?,
            End::Defer => self.right.defer(slot, fence).await?,
            End::Forget => self.right.forget(slot, fence).await?,
        }
        self.change(slot, |note| {
            if self.fault == Fault::EndIsALapse(end) {
                note.ended += 1;
            }
            if self.fault == Fault::EndForgetsLapses(end) {
                note.forgotten = note.lapsed;
            }
            if end == End::Forget {
                note.added = note.lapsed;
            }
        });
        Ok(())
    }
}

impl DedupeStore for Wrong {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.claim_wrongly(slot, lease).boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.renew_wrongly(slot, fence, lease).boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Settle).boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Release).boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Defer).boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Forget).boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.right.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_behaviour_of_a_renewal_can_fail() {
    must_fail(conformance::renewal_outlasts_the_lease, Fault::RenewalDoesNothing).await;
    must_fail(conformance::renewal_is_never_cut_short, Fault::RenewalShortens).await;
    must_fail(conformance::renewal_keeps_the_fence, Fault::RenewalChangesFence).await;
    for end in [End::Settle, End::Release, End::Defer, End::Forget] {
        must_fail(conformance::renewal_keeps_the_fence, Fault::RenewalBars(end)).await;
    }
    must_fail(conformance::renewal_costs_no_attempt, Fault::RenewalIsAnAttempt).await;
    must_fail(conformance::renewal_costs_no_attempt, Fault::RenewalIsALapse).await;
    must_fail(conformance::lapsed_claim_may_be_renewed, Fault::LateRenewalIsFenced).await;
    must_fail(conformance::repeat_after_a_renewal_is_recognised, Fault::RenewalForgetsClaimant).await;
    must_fail(conformance::repeat_after_a_renewal_is_recognised, Fault::RenewalIsUnfenced).await;
    for fault in [Fault::RenewalIsUnfenced, Fault::StaleRenewalSucceeds, Fault::StaleRenewalRevives] {
        must_fail(conformance::claim_lost_to_another_is_not_renewed, fault).await;
    }
    for fault in [Fault::StaleRenewalSucceeds, Fault::StaleRenewalRevives, Fault::StaleRenewalRevivesUnseen] {
        must_fail(conformance::claim_that_ended_is_not_renewed, fault).await;
        must_fail(conformance::unknown_slot_is_not_renewed, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_count_of_lapses_is_noticed() {
    must_fail(conformance::lapsed_counts_expiries, Fault::LapsesAreNotCounted).await;
    for end in [End::Release, End::Defer] {
        must_fail(conformance::lapsed_counts_expiries, Fault::EndForgetsLapses(end)).await;
        must_fail(conformance::lapsed_counts_nothing_else, Fault::EndIsALapse(end)).await;
    }
    must_fail(conformance::lapsed_counts_nothing_else, Fault::RepeatIsALapse).await;
    must_fail(conformance::lapsed_counts_nothing_else, Fault::RenewalIsALapse).await;
    must_fail(conformance::forget_resets_the_lapses, Fault::ForgetKeepsLapses).await;
}

/// These wait out the deadline of the suite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_never_ends_is_noticed() {
    tokio::join!(
        must_fail(conformance::renewed_lease_lapses, Fault::RenewalNeverLapses),
        must_fail(conformance::claim_lost_to_another_is_not_renewed, Fault::StaleRenewalProlongsTheHeir),
    );
}

/// So what the suite notices above is the fault, not the wrapper.
mod without_a_fault {
    use super::Fault;
    use crate::must_fail::Flaw as _;
    stratt_event_bridge::testing::dedupe_conformance!(Fault::Nothing.store());
}
