//! Behaviours of a claim that its claimant repeats, because the answer was lost.

use crate::testing::conformance::{
    LONG, SHORT, Store, Verdict, Violation, acquire, fresh, must, must_be_fenced, must_be_held,
    outlive_a_short_lease,
};

/// A claim that is repeated by its claimant is granted again: same attempt, new fence, and only the new one counts.
pub async fn lost_claim_reply_is_recognised(store: Store) -> Verdict {
    let slot = fresh()?;
    let (lost, _) = acquire(&store, &slot, LONG).await?;
    let (fence, attempt) = acquire(&store, &slot, LONG).await?;
    must(attempt == 1, || format!("the repeated claim was counted as attempt {attempt}"))?;
    must(fence != lost, || "the repeated claim has the fence of the first".to_owned())?;
    must_be_held(&store, &slot, "after a repeated claim").await?;
    must_be_fenced(store.settle(&slot, lost).await, "settle")?;
    store.settle(&slot, fence).await.map_err(Violation::from)
}

/// A claim that is repeated by its claimant after the lease costs no attempt either, unless another one has claimed.
pub async fn late_repeat_keeps_the_attempt(store: Store) -> Verdict {
    let slot = fresh()?;
    acquire(&store, &slot, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    let (_, attempt) = acquire(&store, &slot, LONG).await?;
    must(attempt == 1, || format!("the claim that was repeated late was counted as attempt {attempt}"))?;
    must_be_held(&store, &slot, "after a late repeat").await
}

/// A claim that is repeated by its claimant after a renewal is granted again: same attempt, new fence, which alone
/// counts.
pub async fn repeat_after_a_renewal_is_recognised(store: Store) -> Verdict {
    let slot = fresh()?;
    let (lost, _) = acquire(&store, &slot, LONG).await?;
    store.renew(&slot, lost, LONG).await?;
    let (fence, attempt) = acquire(&store, &slot, LONG).await?;
    must(attempt == 1, || format!("the claim repeated after a renewal was counted as attempt {attempt}"))?;
    must(fence != lost, || "the claim repeated after a renewal has the fence of the first".to_owned())?;
    must_be_fenced(store.renew(&slot, lost, LONG).await, "renew")?;
    must_be_fenced(store.settle(&slot, lost).await, "settle")?;
    store.renew(&slot, fence, LONG).await?;
    store.settle(&slot, fence).await.map_err(Violation::from)
}
