//! Behaviours of the count of lapses, by which a consumer recognises an event that ends its process.

use crate::{
    dedupe::{Claim, Fence, Slot},
    testing::conformance::{
        LONG, SHORT, Store, Verdict, Violation, fresh, must, other_claimant, outlive_a_short_lease,
    },
};
use std::time::Duration;

/// Claims the slot, and checks the count of lapses.
async fn acquire_after(store: &Store, slot: &Slot, lease: Duration, wanted: u32) -> Result<Fence, Violation> {
    match store.claim(slot, lease).await? {
        Claim::Acquired { fence, lapsed, .. } => {
            must(lapsed == wanted, || {
                format!("of the claims before, {wanted} lapsed, but {lapsed} were counted")
            })?;
            Ok(fence)
        }
        claim => Err(Violation(format!("claim was not granted: {claim:?}"))),
    }
}

/// Each claim that ended by lease expiry counts; a release and a defer keep the count.
pub async fn lapsed_counts_expiries(store: Store) -> Verdict {
    let slot = fresh()?;
    for lapsed in 0..2 {
        acquire_after(&store, &other_claimant(&slot), SHORT, lapsed).await?;
        outlive_a_short_lease(&store).await?;
    }
    let fence = acquire_after(&store, &slot, LONG, 2).await?;
    store.release(&slot, fence).await?;
    let second = other_claimant(&slot);
    let fence = acquire_after(&store, &second, LONG, 2).await?;
    store.defer(&second, fence).await?;
    let third = other_claimant(&slot);
    acquire_after(&store, &third, SHORT, 2).await?;
    // A repetition keeps it too.
    let fence = acquire_after(&store, &third, SHORT, 2).await?;
    store.renew(&third, fence, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    acquire_after(&store, &other_claimant(&slot), LONG, 3).await.map(|_| ())
}

/// A claim that was released, deferred, renewed or repeated by its claimant does not count as a lapse, however late.
pub async fn lapsed_counts_nothing_else(store: Store) -> Verdict {
    let slot = fresh()?;
    let fence = acquire_after(&store, &slot, LONG, 0).await?;
    store.release(&slot, fence).await?;
    let second = other_claimant(&slot);
    let fence = acquire_after(&store, &second, LONG, 0).await?;
    store.defer(&second, fence).await?;
    let third = other_claimant(&slot);
    acquire_after(&store, &third, SHORT, 0).await?;
    acquire_after(&store, &third, SHORT, 0).await?;
    outlive_a_short_lease(&store).await?;
    let fence = acquire_after(&store, &third, SHORT, 0).await?;
    outlive_a_short_lease(&store).await?;
    store.renew(&third, fence, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    // Expired, and ended by its own claimant all the same.
    store.release(&third, fence).await?;
    acquire_after(&store, &other_claimant(&slot), LONG, 0).await.map(|_| ())
}

/// A forget resets the count of lapses.
pub async fn forget_resets_the_lapses(store: Store) -> Verdict {
    let slot = fresh()?;
    acquire_after(&store, &other_claimant(&slot), SHORT, 0).await?;
    outlive_a_short_lease(&store).await?;
    let fence = acquire_after(&store, &slot, LONG, 1).await?;
    store.forget(&slot, fence).await?;
    store.forget(&slot, fence).await?;
    acquire_after(&store, &other_claimant(&slot), LONG, 0).await.map(|_| ())
}
