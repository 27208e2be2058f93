//! Behaviours of a renewal, by which a worker keeps its claim for longer than the first lease.

use crate::{
    dedupe::{Claim, Fence, Slot},
    testing::conformance::{
        LONG, SHORT, Store, Verdict, Violation, acquire, acquire_in_time, fresh, must, must_be_held,
        other_claimant, outlive_a_short_lease,
    },
};
use std::time::Duration;

/// A renewed lease lasts longer than the first one.
pub async fn renewal_outlasts_the_lease(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, SHORT).await?;
    store.renew(&slot, fence, LONG).await?;
    outlive_a_short_lease(&store).await?;
    must_be_held(&store, &slot, "after the first lease, which was renewed,").await
}

/// A renewal never ends a lease earlier than it did end, and is no shorter than it says.
pub async fn renewal_is_never_cut_short(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    for shorter in [SHORT, Duration::ZERO] {
        store.renew(&slot, fence, shorter).await?;
    }
    outlive_a_short_lease(&store).await?;
    must_be_held(&store, &slot, "after a renewal for less than the rest of the lease").await?;
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, SHORT).await?;
    store.renew(&slot, fence, LONG).await?;
    store.renew(&slot, fence, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    must_be_held(&store, &slot, "after a renewal for less than the one before").await
}

/// After renewals, the fence that was granted settles, releases, defers and forgets, and each may be repeated.
pub async fn renewal_keeps_the_fence(store: Store) -> Verdict {
    let (slot, fence) = renewed_twice(&store).await?;
    store.settle(&slot, fence).await?;
    store.settle(&slot, fence).await?;
    let claim = store.claim(&other_claimant(&slot), LONG).await?;
    must(claim == Claim::Settled, || format!("a slot that was renewed and settled was {claim:?}"))?;

    let (slot, fence) = renewed_twice(&store).await?;
    store.release(&slot, fence).await?;
    store.release(&slot, fence).await?;
    must_be_attempt(&store, &slot, 2, "a release").await?;

    let (slot, fence) = renewed_twice(&store).await?;
    store.defer(&slot, fence).await?;
    store.defer(&slot, fence).await?;
    must_be_attempt(&store, &slot, 1, "a defer").await?;

    let (slot, fence) = renewed_twice(&store).await?;
    store.forget(&slot, fence).await?;
    store.forget(&slot, fence).await?;
    must_be_attempt(&store, &slot, 1, "a forget").await
}

async fn renewed_twice(store: &Store) -> Result<(Slot, Fence), Violation> {
    let slot = fresh()?;
    let (fence, _) = acquire(store, &slot, LONG).await?;
    store.renew(&slot, fence, LONG).await?;
    store.renew(&slot, fence, LONG * 2).await?;
    Ok((slot, fence))
}

async fn must_be_attempt(store: &Store, slot: &Slot, wanted: u32, after: &str) -> Verdict {
    let (_, attempt) = acquire(store, &other_claimant(slot), LONG).await?;
    must(attempt == wanted, || {
        format!("attempt {wanted}, after renewals and {after}, was counted as {attempt}")
    })
}

/// A renewal counts neither as an attempt nor as a lapse.
pub async fn renewal_costs_no_attempt(store: Store) -> Verdict {
    let (slot, fence) = renewed_twice(&store).await?;
    store.release(&slot, fence).await?;
    match store.claim(&other_claimant(&slot), LONG).await? {
        Claim::Acquired { attempt: 2, lapsed: 0, .. } => Ok(()),
        claim => Err(Violation(format!("the second attempt, after renewals of the first, was {claim:?}"))),
    }
}

/// A renewed lease expires as any other.
pub async fn renewed_lease_lapses(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, SHORT).await?;
    store.renew(&slot, fence, SHORT).await?;
    let (new, _) = acquire_in_time(&store, &other_claimant(&slot)).await?;
    must(new != fence, || "the new claim has the fence of the renewed one".to_owned())
}

/// A lease that has expired can be renewed until another claimant acquires the slot.
pub async fn lapsed_claim_may_be_renewed(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    store.renew(&slot, fence, LONG).await?;
    must_be_held(&store, &slot, "after a late renewal").await?;
    store.settle(&slot, fence).await.map_err(Violation::from)
}
