//! Behaviours of a renewal with a stale fence, which changes nothing.

use crate::{
    dedupe::{Claim, Fence},
    testing::conformance::{
        LONG, SHORT, Store, Verdict, Violation, acquire, acquire_in_time, fresh, must, must_be_fenced,
        must_be_held, other_claimant,
    },
};

/// A claim that was lost to another claimant cannot be renewed, and trying affects neither the new claim nor its lease.
pub async fn claim_lost_to_another_is_not_renewed(store: Store) -> Verdict {
    let slot = fresh()?;
    let (stale, _) = acquire(&store, &slot, SHORT).await?;
    let heir = other_claimant(&slot);
    let (fence, attempt) = acquire_in_time(&store, &heir).await?;
    must_be_fenced(store.renew(&slot, stale, LONG).await, "renew")?;
    must_be_held(&store, &slot, "after a stale renewal").await?;
    store.renew(&heir, fence, LONG).await?;
    must_be_fenced(store.renew(&slot, stale, LONG).await, "renew of a renewed claim")?;
    store.release(&heir, fence).await?;
    must_be_fenced(store.renew(&slot, stale, LONG).await, "renew of a free slot")?;
    let third = other_claimant(&slot);
    let (stale_too, next) = acquire(&store, &third, SHORT).await?;
    must(next == attempt + 1, || format!("stale renewals changed the attempts from {attempt} to {next}"))?;
    must_be_fenced(store.renew(&slot, stale, LONG).await, "renew")?;
    must_be_fenced(store.renew(&heir, fence, LONG).await, "renew")?;
    // The lease of the third ends when it would have ended.
    let (_, last) = acquire_in_time(&store, &other_claimant(&slot)).await?;
    must(last == next + 1, || format!("stale renewals changed the attempts from {next} to {last}"))?;
    must_be_fenced(store.renew(&third, stale_too, LONG).await, "renew")
}

/// A claim that was settled, released, deferred or forgotten cannot be renewed, and trying changes nothing.
pub async fn claim_that_ended_is_not_renewed(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.settle(&slot, fence).await?;
    must_be_fenced(store.renew(&slot, fence, LONG).await, "renew of a settled slot")?;
    let claim = store.claim(&other_claimant(&slot), LONG).await?;
    must(claim == Claim::Settled, || format!("a settled slot was {claim:?} after a renewal"))?;

    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.release(&slot, fence).await?;
    must_be_fenced(store.renew(&slot, fence, LONG).await, "renew of a released slot")?;
    let second = other_claimant(&slot);
    let (fence, attempt) = acquire(&store, &second, LONG).await?;
    must(attempt == 2, || format!("the attempt after a release and a renewal was counted as {attempt}"))?;
    store.defer(&second, fence).await?;
    must_be_fenced(store.renew(&second, fence, LONG).await, "renew of a deferred slot")?;
    let third = other_claimant(&slot);
    let (fence, attempt) = acquire(&store, &third, LONG).await?;
    must(attempt == 2, || format!("the attempt after a defer and a renewal was counted as {attempt}"))?;
    store.forget(&third, fence).await?;
    must_be_fenced(store.renew(&third, fence, LONG).await, "renew of a forgotten slot")?;
    let (_, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(attempt == 1, || format!("the attempt after a forget and a renewal was counted as {attempt}"))
}

/// A slot that was never claimed cannot be renewed, and trying leaves it unclaimed.
pub async fn unknown_slot_is_not_renewed(store: Store) -> Verdict {
    let (known, unknown) = (fresh()?, fresh()?);
    let (fence, _) = acquire(&store, &known, LONG).await?;
    for fence in [fence, Fence::new(1), Fence::new(u64::MAX)] {
        must_be_fenced(store.renew(&unknown, fence, LONG).await, "renew of an unknown slot")?;
    }
    let (fence, attempt) = acquire(&store, &other_claimant(&unknown), LONG).await?;
    must(attempt == 1, || {
        format!("the attempt after a renewal of an unknown slot was counted as {attempt}")
    })?;
    store.settle(&unknown, fence).await.map_err(Violation::from)
}
