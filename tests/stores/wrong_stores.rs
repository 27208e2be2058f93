//! Stores that are wrong on purpose: every behaviour of the conformance suite is seen to fail.

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

/// A fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    NeverGrants,
    CountsFromZero,
    GrantsTwice,
    ForgetsSettled,
    SettledLapses,
    SettlesOnce,
    ReleaseDoesNothing,
    ReleaseResetsAttempts,
    ForgetKeepsAttempts,
    DeferDoesNothing,
    DefersOnce,
    DeferKeepsAttempts,
    DeferForgetsAttempts,
    RepeatedDeferTakesMore,
    DeferGoesBelowZero,
    DeferIsUnfenced,
    LapseResetsAttempts,
    NeverLapses,
    LapsesEarly,
    Unfenced,
    OneKey,
    IgnoresConsumer,
    ChecksThenMarks,
    IgnoresClaimant,
    CountsLateRepeats,
    LateIsFenced,
    MarksFirst,
    PeekClaims,
    PeekCountsClaimsOnce,
    PeekTakesSettledForFree,
    PeekTakesLapsedForFree,
}

/// The memory store, bent by a fault; its answers are otherwise right.
#[derive(Debug)]
struct Wrong {
    fault: Fault,
    right: MemoryStore,
    /// The newest fence of each slot, for faults that need to know it.
    newest: Mutex<HashMap<Slot, (Fence, Instant, u32)>>,
    settles: Mutex<HashMap<Slot, u32>>,
    defers: Mutex<HashMap<Slot, u32>>,
}

impl Flaw for Fault {
    fn store(self) -> Arc<dyn DedupeStore> {
        Arc::new(Wrong {
            fault: self,
            right: MemoryStore::new(),
            newest: Mutex::default(),
            settles: Mutex::default(),
            defers: Mutex::default(),
        })
    }
}

impl Wrong {
    fn bent(&self, slot: &Slot) -> Slot {
        let fixed = "1".repeat(64).parse().unwrap();
        match self.fault {
            Fault::OneKey => Slot::new(slot.consumer().clone(), fixed),
            Fault::IgnoresConsumer => Slot::new("everybody".parse().unwrap(), slot.key()),
            Fault::IgnoresClaimant => Slot::new(slot.consumer().clone(), slot.key()),
            _ => slot.clone(),
        }
    }

    fn newest(&self, slot: &Slot) -> Option<(Fence, Instant, u32)> {
        self.newest.lock().unwrap().get(slot).copied()
    }

    fn defers_of(&self, slot: &Slot) -> u32 {
        self.defers.lock().unwrap().get(slot).copied().unwrap_or_default()
    }

    async fn defer_wrongly(&self, slot: &Slot, fence: Fence) -> Result<(), StoreError> {
        let before = self.defers_of(slot);
        self.defers.lock().unwrap().insert(slot.clone(), before + 1);
        match self.fault {
            Fault::DeferDoesNothing => Ok(()),
            Fault::DefersOnce if before > 0 => Err(StoreError::new(StoreErrorKind::Fenced)),
            Fault::DeferKeepsAttempts | Fault::DeferGoesBelowZero => self.right.release(slot, fence).await,
            Fault::DeferForgetsAttempts => self.right.forget(slot, fence).await,
            Fault::DeferIsUnfenced => self.right.defer(slot, self.newest(slot).unwrap().0).await,
            _ => self.right.defer(slot, fence).await,
        }
    }

    async fn peek_wrongly(&self, slot: &Slot) -> Result<SlotState, StoreError> {
        if self.fault == Fault::PeekClaims {
            self.right.claim(slot, Duration::from_mins(1)).await?;
        }
        let seen = self.right.peek(slot).await?;
        Ok(match (self.fault, seen) {
            (Fault::PeekCountsClaimsOnce, SlotState::Held { expires_in, .. }) => {
                SlotState::Held { attempts: 1, expires_in }
            }
            (Fault::PeekTakesSettledForFree, SlotState::Settled) => SlotState::UNKNOWN,
            (Fault::PeekTakesLapsedForFree, SlotState::Held { attempts, expires_in: Duration::ZERO }) => {
                SlotState::Free { attempts }
            }
            (_, seen) => seen,
        })
    }

    async fn claim_wrongly(&self, slot: &Slot, lease: Duration) -> Result<Claim, StoreError> {
        let held = Claim::Held { retry_in: lease };
        let before = self.newest(slot);
        let lapsed = before.is_some_and(|(_, until, _)| until <= Instant::now());
        match self.fault {
            Fault::NeverGrants => return Ok(held),
            Fault::GrantsTwice | Fault::LapsesEarly => {
                let early =
                    before.is_some_and(|(_, until, _)| until < Instant::now() + Duration::from_millis(700));
                if let Some((fence, ..)) = before
                    && (self.fault == Fault::GrantsTwice || early)
                {
                    let _ignored = self.right.release(slot, fence).await;
                }
            }
            Fault::ForgetsSettled if self.settles.lock().unwrap().contains_key(slot) => {
                return Ok(Claim::Acquired { fence: Fence::new(u64::MAX), attempt: 1, lapsed: 0 });
            }
            Fault::SettledLapses if lapsed && self.settles.lock().unwrap().contains_key(slot) => {
                return Ok(Claim::Acquired { fence: Fence::new(u64::MAX), attempt: 2, lapsed: 0 });
            }
            Fault::NeverLapses => {
                return self.right.claim(slot, lease.max(Duration::from_hours(1))).await;
            }
            Fault::LapseResetsAttempts if lapsed => {
                self.right.forget(slot, before.unwrap().0).await?;
            }
            Fault::CountsLateRepeats if lapsed => {
                let stranger = Slot::new(slot.consumer().clone(), slot.key());
                return self.right.claim(&stranger, lease).await;
            }
            Fault::MarksFirst => {
                let claim = self.right.claim(slot, lease).await?;
                if let Claim::Acquired { fence, .. } = claim {
                    self.right.settle(slot, fence).await?;
                }
                return Ok(claim);
            }
            Fault::ChecksThenMarks => {
                let seen = before;
                // Somebody else may check before this one marks.
                tokio::task::yield_now().await;
                std::thread::sleep(Duration::from_millis(2));
                if seen.is_some() {
                    return Ok(held);
                }
                self.newest.lock().unwrap().insert(slot.clone(), (Fence::new(1), Instant::now() + lease, 1));
                return Ok(Claim::Acquired { fence: Fence::new(1), attempt: 1, lapsed: 0 });
            }
            _ => {}
        }
        let claim = self.right.claim(slot, lease).await?;
        let Claim::Acquired { fence, attempt, lapsed } = claim else { return Ok(claim) };
        self.newest.lock().unwrap().insert(slot.clone(), (fence, Instant::now() + lease, attempt));
        let attempt = match self.fault {
            Fault::CountsFromZero => attempt - 1,
            // As an unsigned number does that is not stopped at zero.
            Fault::DeferGoesBelowZero => attempt.wrapping_sub(self.defers_of(slot)),
            Fault::RepeatedDeferTakesMore => attempt - self.defers_of(slot).saturating_sub(1),
            _ => attempt,
        };
        Ok(Claim::Acquired { fence, attempt, lapsed })
    }
}

impl DedupeStore for Wrong {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move { self.claim_wrongly(&self.bent(slot), lease).await }.boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.right.renew(&self.bent(slot), fence, lease).await }.boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let slot = self.bent(slot);
            let fence = if self.fault == Fault::Unfenced { self.newest(&slot).unwrap().0 } else { fence };
            if self.fault == Fault::LateIsFenced && self.newest(&slot).unwrap().1 <= Instant::now() {
                return Err(StoreError::new(StoreErrorKind::Fenced));
            }
            self.right.settle(&slot, fence).await?;
            let mut settles = self.settles.lock().unwrap();
            let count = settles.entry(slot).or_default();
            *count += 1;
            if self.fault == Fault::SettlesOnce && *count > 1 {
                return Err(StoreError::new(StoreErrorKind::Fenced));
            }
            Ok(())
        }
        .boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            match self.fault {
                Fault::ReleaseDoesNothing => Ok(()),
                Fault::ReleaseResetsAttempts => self.right.forget(&self.bent(slot), fence).await,
                _ => self.right.release(&self.bent(slot), fence).await,
            }
        }
        .boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.defer_wrongly(&self.bent(slot), fence).await }.boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            match self.fault {
                Fault::ForgetKeepsAttempts => self.right.release(&self.bent(slot), fence).await,
                _ => self.right.forget(&self.bent(slot), fence).await,
            }
        }
        .boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.peek_wrongly(slot).boxed()
    }

    fn retention(&self) -> Option<Duration> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_behaviour_can_fail() {
    must_fail(conformance::first_claim_acquires, Fault::NeverGrants).await;
    must_fail(conformance::first_claim_acquires, Fault::CountsFromZero).await;
    must_fail(conformance::second_claim_is_held, Fault::GrantsTwice).await;
    must_fail(conformance::settled_is_final, Fault::ForgetsSettled).await;
    must_fail(conformance::settled_outlives_the_lease, Fault::SettledLapses).await;
    must_fail(conformance::settle_may_be_repeated, Fault::SettlesOnce).await;
    must_fail(conformance::release_reopens, Fault::ReleaseDoesNothing).await;
    must_fail(conformance::release_keeps_the_attempts, Fault::ReleaseResetsAttempts).await;
    must_fail(conformance::defer_reopens, Fault::DeferDoesNothing).await;
    must_fail(conformance::defer_reopens, Fault::DefersOnce).await;
    must_fail(conformance::defer_takes_one_attempt_back, Fault::DeferKeepsAttempts).await;
    must_fail(conformance::defer_takes_one_attempt_back, Fault::DeferForgetsAttempts).await;
    must_fail(conformance::defer_takes_one_attempt_back, Fault::RepeatedDeferTakesMore).await;
    must_fail(conformance::defer_never_goes_below_zero, Fault::DeferGoesBelowZero).await;
    must_fail(conformance::stale_fence_changes_nothing, Fault::DeferIsUnfenced).await;
    must_fail(conformance::forget_resets_the_attempts, Fault::ForgetKeepsAttempts).await;
    must_fail(conformance::attempts_count_claims, Fault::LapseResetsAttempts).await;
    must_fail(conformance::lease_lapses, Fault::MarksFirst).await;
    must_fail(conformance::lease_is_never_cut_short, Fault::LapsesEarly).await;
    must_fail(conformance::lapsed_claim_may_settle, Fault::LateIsFenced).await;
    must_fail(conformance::stale_fence_changes_nothing, Fault::Unfenced).await;
    must_fail(conformance::keys_are_independent, Fault::OneKey).await;
    must_fail(conformance::consumers_are_independent, Fault::IgnoresConsumer).await;
    must_fail(conformance::one_of_many_acquires, Fault::ChecksThenMarks).await;
    must_fail(conformance::lost_claim_reply_is_recognised, Fault::IgnoresClaimant).await;
    must_fail(conformance::late_repeat_keeps_the_attempt, Fault::CountsLateRepeats).await;
    for fault in [Fault::PeekCountsClaimsOnce, Fault::PeekTakesSettledForFree] {
        must_fail(conformance::peek_tells_the_state, fault).await;
    }
    must_fail(conformance::peek_shows_a_lapse, Fault::PeekTakesLapsedForFree).await;
    must_fail(conformance::peek_changes_nothing, Fault::PeekClaims).await;
}

/// So what the suite notices above is the fault, not the wrapper.
mod without_a_fault {
    use super::Fault;
    use crate::must_fail::Flaw as _;
    stratt_event_bridge::testing::dedupe_conformance!(Fault::Nothing.store());
}

/// These two wait out the deadline of the suite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_leases_never_end_is_noticed() {
    tokio::join!(
        must_fail(conformance::lease_lapses, Fault::NeverLapses),
        must_fail(conformance::cancelled_claim_lapses, Fault::NeverLapses),
    );
}
