//! Behaviours of a defer, which ends a run that says nothing about the event.

use crate::testing::conformance::{LONG, Store, Verdict, acquire, fresh, must, other_claimant};

/// A deferred slot can be claimed at once; deferring again with the same fence succeeds.
pub async fn defer_reopens(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.defer(&slot, fence).await?;
    store.defer(&slot, fence).await?;
    acquire(&store, &other_claimant(&slot), LONG).await.map(|_| ())
}

/// A defer takes back the attempt of its own claim and no other, once however often it is repeated.
pub async fn defer_takes_one_attempt_back(store: Store) -> Verdict {
    let slot = fresh()?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.release(&slot, fence).await?;
    let second = other_claimant(&slot);
    let (fence, _) = acquire(&store, &second, LONG).await?;
    store.defer(&second, fence).await?;
    store.defer(&second, fence).await?;
    let (_, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(attempt == 2, || format!("the attempt after a release and a defer was counted as {attempt}"))
}

/// A defer takes back no attempt where there is none.
pub async fn defer_never_goes_below_zero(store: Store) -> Verdict {
    let slot = fresh()?;
    for _round in 0..3 {
        let claimant = other_claimant(&slot);
        let (fence, attempt) = acquire(&store, &claimant, LONG).await?;
        must(attempt == 1, || format!("the first attempt that counts was counted as {attempt}"))?;
        store.defer(&claimant, fence).await?;
    }
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.forget(&slot, fence).await?;
    // It may be taken for a repeat, or for stale.
    let _done_or_refused = store.defer(&slot, fence).await;
    let (_, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(attempt == 1, || format!("the attempt after a forget and a defer was counted as {attempt}"))
}
