//! Behaviours of a peek, which only looks.

use crate::{
    dedupe::SlotState,
    testing::conformance::{
        LONG, SHORT, Store, Verdict, acquire, fresh, must, must_be_held, other_claimant,
        outlive_a_short_lease,
    },
};
use std::time::Duration;

/// A peek tells whether a slot is free, held or settled, and how many claims were granted.
pub async fn peek_tells_the_state(store: Store) -> Verdict {
    let slot = fresh()?;
    let looks_like = |wanted: SlotState, when: &'static str| {
        let (store, slot) = (&store, &slot);
        async move {
            let seen = store.peek(&other_claimant(slot)).await?;
            must(seen == wanted, || format!("a slot {when} looked like {seen:?}, not {wanted:?}"))
        }
    };
    looks_like(SlotState::UNKNOWN, "that was never claimed").await?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.release(&slot, fence).await?;
    looks_like(SlotState::Free { attempts: 1 }, "that was released").await?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    match store.peek(&other_claimant(&slot)).await? {
        SlotState::Held { attempts: 2, expires_in } if !expires_in.is_zero() && expires_in <= 2 * LONG => {}
        seen => must(false, || {
            format!("a slot that is held for {LONG:?} as its second attempt looked like {seen:?}")
        })?,
    }
    store.forget(&slot, fence).await?;
    looks_like(SlotState::UNKNOWN, "that was forgotten").await?;
    let (fence, _) = acquire(&store, &slot, LONG).await?;
    store.settle(&slot, fence).await?;
    looks_like(SlotState::Settled, "that was settled").await
}

/// A slot whose lease is over looks held until it is acquired again, with nothing left of its lease.
pub async fn peek_shows_a_lapse(store: Store) -> Verdict {
    let slot = fresh()?;
    acquire(&store, &slot, SHORT).await?;
    outlive_a_short_lease(&store).await?;
    let seen = store.peek(&slot).await?;
    let wanted = SlotState::Held { attempts: 1, expires_in: Duration::ZERO };
    must(seen == wanted, || format!("a slot whose lease is over looked like {seen:?}, not {wanted:?}"))
}

/// A peek neither claims a slot, nor frees it, nor makes it known.
pub async fn peek_changes_nothing(store: Store) -> Verdict {
    let slot = fresh()?;
    store.peek(&slot).await?;
    let (fence, attempt) = acquire(&store, &other_claimant(&slot), LONG).await?;
    must(attempt == 1, || format!("the first attempt after a peek was counted as {attempt}"))?;
    store.peek(&slot).await?;
    must_be_held(&store, &slot, "after a peek").await?;
    store.settle(&slot, fence).await?;
    Ok(())
}
