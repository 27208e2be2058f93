//! Dedupe stores, which record the events that are being handled and those that have been.
//!
//! A consumer claims the slot of an event before it runs a handler, and settles it afterwards. See
//! [`docs::dedupe`](crate::docs::dedupe) for choosing, writing and certifying a store.

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
mod slot_state;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;

pub use claim::{Claim, Fence};
pub use error::{StoreError, StoreErrorKind};
pub use futures::future::BoxFuture;
pub use grant::Grant;
pub use kv::{BucketName, KvStore, KvStoreOptions};
pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{KeyPrefix, RedisStore, RedisStoreOptions};
pub use slot::Slot;
pub use slot_state::SlotState;
#[cfg(feature = "postgres")]
pub use sql::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sql::SqliteStore;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{SqlStore, SqlStoreOptions};

use std::{fmt::Debug, time::Duration};

/// A store of the slots that are claimed and those that are settled.
///
/// The contract, of which each sentence is a test of `testing::conformance`:
///
/// - The first claim of a slot acquires it; claims of other claimants find it held until the lease expires. Of many
///   concurrent claims, one acquires.
/// - A settled slot stays settled: beyond its lease, until the [`retention`](Self::retention) of the store that claimed
///   it ends, regardless of the settings of other stores on the backend.
/// - A lease is never cut short. After its expiry, the next claim acquires. A claim whose future was dropped expires
///   like any other.
/// - A renewal moves the end of the lease to the given time from now, and never to an earlier time. The fence stays the
///   one that was granted: the slot can be settled, released, deferred, forgotten and renewed with it. A renewal counts
///   neither as an attempt nor as a lapse.
/// - `attempt` counts the claims granted, across releases and expired leases, until the slot is forgotten. A defer
///   takes its own claim back from that count, only once however often it is repeated, and never below zero.
/// - `lapsed` counts the claims granted that ended by lease expiry, when another claimant acquires the slot, and
///   nothing else. Releases and defers keep that count, and a forget resets it.
/// - Every grant has a new fence, even after the backend was lost and recreated. Settling, releasing, deferring,
///   forgetting or renewing with a stale fence is [`Fenced`](StoreErrorKind::Fenced) and changes nothing. A renewal
///   never revives a claim that was lost or has ended. Repeating an operation that succeeded, because its answer was
///   lost, succeeds.
/// - A claim that finds the slot held by its own [claimant](Slot::claimant) is granted again, with a new fence, a fresh
///   lease, the same attempt and the same count of lapses, since the answer to the first claim was lost. The same holds
///   after a renewal, and after lease expiry until another claimant acquires the slot.
/// - Lease expiry alone does not revoke a claim: until another claimant acquires the slot, its fence is valid, and its
///   lease can be renewed.
/// - A peek tells the state that a claim of another claimant would find, and leaves it as it is.
/// - Keys are independent, and so are consumers.
///
/// The store's own clock decides on expiry. A wrong clock may cause an overlap, never a wrong settle.
///
/// Every method may be dropped at any await; its operation is then done or not done, as after a lost answer.
pub trait DedupeStore: Debug + Send + Sync + 'static {
    /// Claims a slot for the length of `lease`.
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Renews the lease of the slot, whose worker is still at work: it ends `lease` from now by the store's clock, or
    /// later if it did before. May be repeated.
    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Settles the slot: its event was handled, and is remembered for the store's retention. May be repeated.
    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Releases the slot: its event was not handled. The slot is free at once, and the counts of attempts and lapses
    /// stay.
    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Defers the slot: its event was not handled, through no fault of its own. The slot is free at once, the attempt
    /// is taken back, and the count of lapses stays.
    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Forgets the slot: its event was dead-lettered. The slot is free and the counts of attempts and lapses are zero,
    /// so that a redrive starts afresh.
    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Returns the state of the slot and changes nothing, for people and tools: by the time of the answer it may be
    /// another one.
    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>>;

    /// Returns how long a settled slot is remembered; `None` means without a time limit.
    ///
    /// It is compared with the maximum age of the stream when a consumer is built.
    fn retention(&self) -> Option<Duration>;
}
