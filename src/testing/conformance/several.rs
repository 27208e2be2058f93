//! Behaviours that take more than one store: two on one backend, or one on a backend that was lost and recreated.

use crate::{
    dedupe::{Claim, Slot},
    testing::conformance::{
        DEADLINE, LONG, SHORT, Store, Verdict, Violation, acquire, fresh, must, must_be_fenced, must_be_held,
        other_claimant,
    },
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A slot is remembered as long as the store that claimed it says, whatever another store on its backend is set to.
///
/// Takes two stores on one backend: `lasting` remembers for a minute at least, `brief` for a second at most.
pub async fn retention_is_the_slots_own(lasting: Store, brief: Store) -> Verdict {
    let (settled, freed, passing) = (fresh()?, fresh()?, fresh()?);
    let (fence, _) = acquire(&lasting, &settled, SHORT).await?;
    lasting.settle(&settled, fence).await?;
    let (fence, _) = acquire(&lasting, &freed, SHORT).await?;
    lasting.release(&freed, fence).await?;
    let (fence, _) = acquire(&brief, &passing, SHORT).await?;
    brief.settle(&passing, fence).await?;
    let attempt = forgotten_in_time(&lasting, &passing).await?;
    must(attempt == 1, || format!("the attempt after a slot was forgotten was counted as {attempt}"))?;
    for (store, name) in [(&brief, "brief"), (&lasting, "lasting")] {
        let claim = store.claim(&other_claimant(&settled), LONG).await?;
        must(claim == Claim::Settled, || {
            format!("a slot that the lasting store settled was {claim:?} to the {name} one")
        })?;
    }
    let (_, attempt) = acquire(&brief, &other_claimant(&freed), LONG).await?;
    must(attempt == 2, || format!("the attempt after one of the lasting store was counted as {attempt}"))
}

/// Claims until a settled slot is forgotten, and returns the attempt that this claim counts as.
async fn forgotten_in_time(store: &Store, slot: &Slot) -> Result<u32, Violation> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match store.claim(&other_claimant(slot), LONG).await? {
            Claim::Acquired { attempt, .. } => return Ok(attempt),
            _ if Instant::now() > deadline => {
                return Err(Violation("a slot of the brief store was not forgotten in time".into()));
            }
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A backend that was lost and recreated grants no fence that it granted before.
///
/// `recreate` loses all that the store has, as when its table is dropped, and returns a store on what is made in its
/// place. The first store is used afterwards too, as by a process that was frozen meanwhile.
pub async fn fences_never_start_again(store: Store, recreate: impl AsyncFnOnce() -> Store) -> Verdict {
    let slots = [fresh()?, fresh()?, fresh()?];
    let mut spent = Vec::new();
    for slot in &slots {
        spent.push(acquire(&store, slot, LONG).await?.0);
    }
    let recreated = recreate().await;
    for (slot, stale) in slots.iter().zip(&spent) {
        let (fence, _) = acquire(&recreated, &other_claimant(slot), LONG).await?;
        must(!spent.contains(&fence), || format!("{fence:?} was granted twice"))?;
        must_be_fenced(store.release(slot, *stale).await, "release")?;
        must_be_fenced(recreated.settle(slot, *stale).await, "settle")?;
        must_be_held(&recreated, slot, "after stale writes").await?;
    }
    Ok(())
}
