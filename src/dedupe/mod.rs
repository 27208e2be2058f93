//! Dedupe stores: who handles an event now, and what has been handled.
//!
//! A consumer claims the slot of an event before it runs a handler, and settles it afterwards. How to choose a store,
//! and how to write and certify one, is told in [`docs::dedupe`](crate::docs::dedupe).

mod claim;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite", test))]
mod coalesce;
mod error;
mod grant;
mod kv;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod slot;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;

pub use claim::{Claim, Fence};
pub use error::{StoreError, StoreErrorKind};
pub use grant::Grant;
pub use kv::{KvStore, KvStoreOptions};
pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{RedisStore, RedisStoreOptions};
pub use slot::Slot;
#[cfg(feature = "postgres")]
pub use sql::PostgresStore;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{SqlStore, SqlStoreOptions};
#[cfg(feature = "sqlite")]
pub use sql::SqliteStore;

use futures::future::BoxFuture;
use std::{fmt::Debug, time::Duration};

/// Remembers which slots are claimed and which are settled.
///
/// The contract, each sentence of which is a test of `testing::conformance`:
///
/// - The first claim of a slot acquires it; another claimant's is held while the lease lasts. Of many at once, one
///   acquires.
/// - A settled slot is settled for good: beyond its lease, and until the [`retention`](Self::retention) of the store that
///   claimed it is over, whatever other stores on its backend are set to.
/// - A lease is never cut short. When it is over, the next claim acquires. A claim whose future was dropped lapses
///   like any other.
/// - `attempt` counts the claims granted, across releases and lapsed leases, until the slot is forgotten. A defer takes
///   its own claim back from that count, once however often it is repeated, and never below zero.
/// - Every grant has a new fence, also after the backend was lost and made anew. Settling, releasing, deferring or
///   forgetting with a stale one is [`Fenced`](StoreErrorKind::Fenced) and changes nothing. Repeating one that
///   succeeded, because its answer was lost, succeeds.
/// - A claim that finds the slot held by its own [claimant](Slot::claimant) is granted again, with a new fence, a
///   fresh lease and the same attempt: the answer to the first was lost. So it is after the lease, while nobody else
///   has claimed the slot.
/// - A lease that is over takes the slot from nobody: until another claimant acquires it, the fence is still good.
/// - Keys are independent, and so are consumers.
///
/// The store's own clock decides what is over. A wrong clock may cost an overlap, never a wrong settle.
///
/// Every method may be dropped at any await; what it was doing is then done or not done, as after a lost answer.
pub trait DedupeStore: Debug + Send + Sync + 'static {
    /// Claims a slot for the length of `lease`.
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// The event was handled: remembered for the store's retention. May be repeated.
    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The event was not handled: the slot is free at once, and the count of attempts stays.
    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The event was not handled, through no fault of its own: the slot is free at once, and the attempt is taken back.
    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The event was dead-lettered: the slot is free and attempts are back to zero, so that a redrive starts afresh.
    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// How long a settled slot is remembered; `None` is without a limit of time.
    ///
    /// Compared with the age of the stream when a consumer is built.
    fn retention(&self) -> Option<Duration>;
}
