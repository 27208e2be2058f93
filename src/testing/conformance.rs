//! The shared suite for dedupe stores: one function, and one test, for each behaviour of the contract.
//!
//! [`dedupe_conformance!`](crate::testing::dedupe_conformance) turns it into tests. Each behaviour uses keys of its
//! own, so one store may serve all. [`retention_is_the_slots_own`] and [`fences_never_start_again`] take more than one
//! store, and are called by hand.
#![allow(clippy::missing_errors_doc, reason = "each fails with the violation of what its first line says")]

mod defer;
mod lapsed;
mod peek;
mod renew;
mod renew_stale;
mod repeat;
mod several;

pub use defer::{defer_never_goes_below_zero, defer_reopens, defer_takes_one_attempt_back};
pub use lapsed::{forget_resets_the_lapses, lapsed_counts_expiries, lapsed_counts_nothing_else};
pub use peek::{peek_changes_nothing, peek_shows_a_lapse, peek_tells_the_state};
pub use renew::{
    lapsed_claim_may_be_renewed, renewal_costs_no_attempt, renewal_is_never_cut_short,
    renewal_keeps_the_fence, renewal_outlasts_the_lease, renewed_lease_lapses,
};
pub use renew_stale::{
    claim_lost_to_another_is_not_renewed, claim_that_ended_is_not_renewed, unknown_slot_is_not_renewed,
};
pub use repeat::{
    late_repeat_keeps_the_attempt, lost_claim_reply_is_recognised, repeat_after_a_renewal_is_recognised,
};
pub use several::{fences_never_start_again, retention_is_the_slots_own};

use crate::{
    ConsumerName, Event, IdempotencyKey, UnitPublished,
    dedupe::{Claim, DedupeStore, Fence, Slot, StoreError, StoreErrorKind},
    report::report,
};
use futures::future::join_all;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// A lease that does not expire during a test.
const LONG: Duration = Duration::from_secs(60);
/// A lease whose expiry is waited for.
const SHORT: Duration = Duration::from_millis(300);
/// The time in which a store must notice that a lease has expired, its margin for wrong clocks included.
const DEADLINE: Duration = Duration::from_secs(10);

/// A behaviour that the contract demands and a store does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Violation(String);

impl From<StoreError> for Violation {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed: {}", report(&error)))
    }
}

/// The result of a test of one behaviour.
pub type Verdict = Result<(), Violation>;

type Store = Arc<dyn DedupeStore>;

fn must(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation(what())) }
}

/// Makes a slot that no other test has used.
fn fresh() -> Result<Slot, Violation> {
    let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse();
    let uri = "strat://dev/rule/conformance@1.0.0".parse();
    let (Ok(fingerprint), Ok(uri), Ok(consumer)) = (fingerprint, uri, "conformance".parse()) else {
        return Err(Violation("no slot could be made".into()));
    };
    Ok(Slot::new(consumer, UnitPublished::new(uri, fingerprint).idempotency_key()))
}

/// Returns the same slot with another claimant.
fn other_claimant(slot: &Slot) -> Slot {
    Slot::new(slot.consumer().clone(), slot.key())
}

async fn acquire(store: &Store, slot: &Slot, lease: Duration) -> Result<(Fence, u32), Violation> {
    match store.claim(slot, lease).await? {
        Claim::Acquired { fence, attempt, .. } => Ok((fence, attempt)),
        claim => Err(Violation(format!("claim was not granted: {claim:?}"))),
    }
}

/// Claims until the slot is acquired, as a consumer does that waits for a lease to expire.
async fn acquire_in_time(store: &Store, slot: &Slot) -> Result<(Fence, u32), Violation> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match store.claim(slot, LONG).await? {
            Claim::Acquired { fence, attempt, .. } => return Ok((fence, attempt)),
            Claim::Settled => {
                return Err(Violation("slot is settled, although no claimant settled it".into()));
            }
            Claim::Held { .. } if Instant::now() > deadline => {
                return Err(Violation("lease did not end in time".into()));
            }
            Claim::Held { .. } => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Waits until an earlier lease of [`SHORT`] has expired by the store's own clock: until one that begins now has.
async fn outlive_a_short_lease(store: &Store) -> Verdict {
    let witness = fresh()?;
    acquire(store, &witness, SHORT).await?;
    acquire_in_time(store, &other_claimant(&witness)).await.map(|_| ())
}

async fn must_be_held(store: &Store, slot: &Slot, when: &str) -> Verdict {
    let claim = store.claim(&other_claimant(slot), LONG).await?;
    must(matches!(claim, Claim::Held { .. }), || format!("claim {when} was {claim:?}, not held"))
}

fn must_be_fenced(result: Result<(), StoreError>, what: &str) -> Verdict {
    match result {
        Err(error) if error.kind() == StoreErrorKind::Fenced => Ok(()),
        other => Err(Violation(format!("{what} with a stale fence answered {other:?}, not fenced"))),
    }
}

/// The first claim of a slot acquires it, as the first attempt.
pub async fn first_claim_acquires(store: Store) -> Verdict {
    let (_, attempt) = acquire(&store, &fresh()?, LONG).await?;
    must(attempt == 1, || format!("the first attempt was counted as {attempt}"))
}

/// While the lease lasts, the claim of another claimant is held.
pub async fn second_claim_is_held(store: Store) -> Verdict {
    let slot = fresh()?;
    acquire(&store, &slot, LONG).await?;
    match store.claim(&other_claimant(&slot), LONG).await? {
        Claim::Held { retry_in } => must(!retry_in.is_zero() && retry_in <= LONG + DEADLINE, || {
            format!("to be retried in {retry_in:?}")
        }),
        claim => Err(Violation(format!("the second claim was {claim:?}, not held"))),
    }
}

/// A settled slot is settled for every claimant.
pub async fn settled_is_final(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.settle(&slot, fence).await?;
    for claimant in [slot.clone(), other_claimant(&slot)] {
        let claim = store.claim(&claimant, LONG).await?;
        must(claim == Claim::Settled, || format!("a settled slot was {claim:?}"))?;
    }
    let _refused = store.release(&slot, fence).await;
    let _refused = store.defer(&slot, fence).await;
    let _refused = store.forget(&slot, fence).await;
    let claim = store.claim(&other_claimant(&slot), LONG).await?;
    must(claim == Claim::Settled, || {
        format!("a settled slot was {claim:?} after a release, a defer and a forget")
    })
}

/// A settled slot stays settled when the lease it was claimed with expires.
pub async fn settled_outlives_the_lease(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, SHORT).await?;
    store.settle(&slot, fence).await?;
    outlive_a_short_lease(&store).await?;
    let claim = store.claim(&other_claimant(&slot), LONG).await?;
    must(claim == Claim::Settled, || format!("a settled slot was {claim:?} after its lease"))
}

/// Settling again with the same fence succeeds.
pub async fn settle_may_be_repeated(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.settle(&slot, fence).await?;
    store.settle(&slot, fence).await?;
    let claim = store.claim(&other_claimant(&slot), LONG).await?;
    must(claim == Claim::Settled, || format!("a slot that was settled twice was {claim:?}"))
}

/// A released slot can be claimed at once; releasing again with the same fence succeeds.
pub async fn release_reopens(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.release(&slot, fence).await?;
    store.release(&slot, fence).await?;
    acquire(&store, &other_claimant(&slot), LONG).await.map(|_| ())
}

/// A release does not reset the count of attempts.
pub async fn release_keeps_the_attempts(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.release(&slot, fence).await?;
    let (_, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(attempt == 2, || format!("the attempt after a release was counted as {attempt}"))
}

/// A forgotten slot can be claimed at once, as the first attempt; forgetting again succeeds.
pub async fn forget_resets_the_attempts(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.forget(&slot, fence).await?;
    store.forget(&slot, fence).await?;
    let (_, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(attempt == 1, || format!("the attempt after a forget was counted as {attempt}"))
}

/// Every claim that is granted counts, also after a release and after a lease that expired.
pub async fn attempts_count_claims(store: Store) -> Verdict {
    let slot = fresh()?;
    for wanted in 1..=3 {
        let (fence, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
        must(attempt == wanted, || format!("attempt {wanted} was counted as {attempt}"))?;
        store.release(&slot, fence).await?;
    }
    acquire(&store, &other_claimant(&slot), SHORT).await?;
    let (_, attempt) = acquire_in_time(&store, &other_claimant(&slot)).await?;
    must(attempt == 5, || format!("attempt 5, after a lapsed lease, was counted as {attempt}"))
}

/// After a lease has expired, another claimant acquires the slot with another fence.
pub async fn lease_lapses(store: Store) -> Verdict {
    let slot = fresh()?;
    let (old, _) = acquire(&store, &slot, SHORT).await?;
    let (new, _) = acquire_in_time(&store, &other_claimant(&slot)).await?;
    must(new != old, || "the new claim has the fence of the old one".to_owned())
}

/// A slot is held at least as long as its lease says.
pub async fn lease_is_never_cut_short(store: Store) -> Verdict {
    let slot = fresh()?;
    let begun = Instant::now();
    acquire(&store, &slot, SHORT * 3).await?;
    acquire_in_time(&store, &other_claimant(&slot)).await?;
    let held = begun.elapsed();
    must(held >= SHORT * 3, || format!("a lease of {:?} ended after {held:?}", SHORT * 3))
}

/// An expired lease alone does not end a claim: until another claimant acquires the slot, the old one may settle.
pub async fn lapsed_claim_may_settle(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    store.settle(&slot, fence).await?;
    let claim = store.claim(&other_claimant(&slot), LONG).await?;
    must(claim == Claim::Settled, || format!("a slot that was settled late was {claim:?}"))
}

/// A claimant that lost its claim cannot settle, release, defer or forget, and changes nothing by trying.
pub async fn stale_fence_changes_nothing(store: Store) -> Verdict {
    let slot = fresh()?;
    let (stale, _) = acquire(&store, &slot, SHORT).await?;
    let heir = other_claimant(&slot);
    let (fence, attempt) = acquire_in_time(&store, &heir).await?;
    must_be_fenced(store.settle(&slot, stale).await, "settle")?;
    must_be_fenced(store.release(&slot, stale).await, "release")?;
    must_be_fenced(store.defer(&slot, stale).await, "defer")?;
    must_be_fenced(store.forget(&slot, stale).await, "forget")?;
    must_be_held(&store, &slot, "after four stale writes").await?;
    store.release(&heir, fence).await?;
    must_be_fenced(store.settle(&slot, stale).await, "settle of a free slot")?;
    let (_, next) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(next == attempt + 1, || format!("stale writes changed the attempts from {attempt} to {next}"))
}

/// Operations on one key do not affect another.
pub async fn keys_are_independent(store: Store) -> Verdict {
    let (slot, other) = (fresh()?, fresh()?);
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    let (other_fence, _) = acquire(&store, &other, LONG).await?;
    store.settle(&slot, fence).await?;
    must_be_held(&store, &other, "of another key").await?;
    store.settle(&other, other_fence).await.map_err(Violation::from)
}

/// Operations on a consumer's slot do not affect the slot of another consumer.
pub async fn consumers_are_independent(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.settle(&slot, fence).await?;
    let elsewhere = slot_of("conformance-2", slot.key())?;
    acquire(&store, &elsewhere, LONG).await.map(|_| ())
}

fn slot_of(consumer: &str, key: IdempotencyKey) -> Result<Slot, Violation> {
    let consumer: ConsumerName = consumer.parse().map_err(|error| Violation(format!("{error}")))?;
    Ok(Slot::new(consumer, key))
}

/// Exactly one of many simultaneous claimants acquires, and the others find the slot held.
pub async fn one_of_many_acquires(store: Store) -> Verdict {
    for _round in 0..10 {
        let slot = fresh()?;
        let claims = (0..16).map(|_| {
            let (store, slot) = (Arc::clone(&store), other_claimant(&slot));
            // Each on a task of its own, so that they race for real on a runtime with several threads.
            tokio::spawn(async move { store.claim(&slot, LONG).await })
        });
        let mut acquired = 0;
        for claim in join_all(claims).await {
            match claim.map_err(|error| Violation(error.to_string()))?? {
                Claim::Acquired { .. } => acquired += 1,
                Claim::Held { .. } => {}
                Claim::Settled => {
                    return Err(Violation("slot is settled, although no claimant settled it".into()));
                }
            }
        }
        must(acquired == 1, || format!("{acquired} of 16 claimants acquired"))?;
    }
    Ok(())
}

/// A claim whose future is dropped holds the slot for no longer than its lease.
pub async fn cancelled_claim_lapses(store: Store) -> Verdict {
    let slot = fresh()?;
    // Long enough for some stores to have written, too short for others: both must recover.
    let _cancelled = timeout(Duration::from_micros(50), store.claim(&slot, SHORT)).await;
    acquire_in_time(&store, &other_claimant(&slot)).await.map(|_| ())
}

/// Expands to one test for each behaviour of the contract of [`DedupeStore`].
///
/// Takes an expression that makes the store, an `Arc<dyn DedupeStore>`, and may await. The crate that uses it needs
/// tokio with its macros and the runtime with several threads.
///
/// ```
/// mod conformance {
///     use std::sync::Arc;
///     use stratt_event_bridge::{dedupe::MemoryStore, testing::dedupe_conformance};
///
///     dedupe_conformance!(Arc::new(MemoryStore::new()));
/// }
/// ```
#[macro_export]
macro_rules! dedupe_conformance {
    ($store:expr) => {
        $crate::dedupe_conformance! { @each $store;
            first_claim_acquires
            second_claim_is_held
            settled_is_final
            settled_outlives_the_lease
            settle_may_be_repeated
            release_reopens
            release_keeps_the_attempts
            defer_reopens
            defer_takes_one_attempt_back
            defer_never_goes_below_zero
            forget_resets_the_attempts
            attempts_count_claims
            lease_lapses
            lease_is_never_cut_short
            lapsed_claim_may_settle
            stale_fence_changes_nothing
            keys_are_independent
            consumers_are_independent
            one_of_many_acquires
            cancelled_claim_lapses
            lost_claim_reply_is_recognised
            late_repeat_keeps_the_attempt
            repeat_after_a_renewal_is_recognised
            renewal_outlasts_the_lease
            renewal_is_never_cut_short
            renewal_keeps_the_fence
            renewal_costs_no_attempt
            renewed_lease_lapses
            lapsed_claim_may_be_renewed
            claim_lost_to_another_is_not_renewed
            claim_that_ended_is_not_renewed
            unknown_slot_is_not_renewed
            peek_tells_the_state
            peek_shows_a_lapse
            peek_changes_nothing
            lapsed_counts_expiries
            lapsed_counts_nothing_else
            forget_resets_the_lapses
        }
    };
    (@each $store:expr; $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let store = $store;
                if let Err(violation) = $crate::testing::conformance::$behaviour(store.clone()).await {
                    panic!("{violation}");
                }
            }
        )*
    };
}
