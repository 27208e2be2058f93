//! The store in a JetStream key-value bucket.

mod bucket;
mod bucket_name;
mod fitness;
mod options;
mod record;
mod server_time;

pub use bucket_name::BucketName;
pub use options::KvStoreOptions;

use crate::dedupe::{Claim, DedupeStore, Fence, Slot, SlotState, StoreError, StoreErrorKind};
use crate::nats::api_context::ApiContext;
use async_nats::Client;
use bucket::{Bucket, Entry, Found, WriteError};
use futures::{FutureExt, future::BoxFuture};
use record::{Counts, Record};
use std::time::Duration;

/// A store in a JetStream key-value bucket, shared by all processes of a consumer.
///
/// Every slot is one key; every change is a compare-and-set on its revision. The fence is the revision of the grant; a
/// renewal writes another revision, whose record names the fence. No claim is granted by a read alone. The age of a
/// revision decides on lease expiry: the server's timestamp against the server's time, which is requested when the
/// bucket is opened and, as needed, every half minute. The clock of this machine may be wrong. The clocks of the
/// servers of a cluster may differ by the skew margin, which is added to each lease, without an overlap. The bucket's
/// maximum age is the retention.
///
/// Revisions begin at the time when the bucket is created, so that none is reused after it was deleted. In a bucket
/// created by other means they begin at its own first sequence.
///
/// ```no_run
/// use std::sync::Arc;
/// use stratt_event_bridge::dedupe::{KvStore, KvStoreOptions};
///
/// # async fn example(client: stratt_event_bridge::async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(KvStore::create(client, KvStoreOptions::default().with_replicas(3)).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KvStore {
    bucket: Bucket,
    retention: Option<Duration>,
    skew_margin: Duration,
}

/// The number of tries to win a race for a slot before it is reported as held.
const ROUNDS: usize = 4;
/// The retry delay after so many lost races.
const AFTER_RACES: Duration = Duration::from_millis(50);

impl KvStore {
    /// Opens the bucket, and creates it if it does not exist. Several processes may call it concurrently.
    ///
    /// On a cluster it takes about a second until all servers know a new bucket; until then operations are
    /// [`Unavailable`](StoreErrorKind::Unavailable), which a consumer waits out.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](StoreErrorKind::Mismatch) when it exists with different settings, naming the field with the actual
    /// and the wanted value; [`Full`](StoreErrorKind::Full) when a limit of the account is reached;
    /// [`Unavailable`](StoreErrorKind::Unavailable) when the broker does not answer or returns an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the bucket created; creating it again is harmless.
    pub async fn create(client: Client, options: KvStoreOptions) -> Result<Self, StoreError> {
        Self::create_in(&ApiContext::new(client, options.api_prefix), options).await
    }

    /// Does so in the JetStream of `context`.
    pub(crate) async fn create_in(context: &ApiContext, options: KvStoreOptions) -> Result<Self, StoreError> {
        let found = bucket::create(context, &options).await?;
        options.check(&found.config)?;
        Ok(Self::over(context, &options, found))
    }

    /// Opens an existing bucket with any age, size, storage and replicas: its maximum age is the retention.
    ///
    /// Only the bucket's name, its JetStream, the skew margin and the operation timeout of the options apply.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](StoreErrorKind::Mismatch) when the bucket could lose settled slots, for example by discarding old
    /// keys when it is full, or cannot be written or read as a store; [`Unavailable`](StoreErrorKind::Unavailable) when
    /// it does not exist or the broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn open(client: Client, options: KvStoreOptions) -> Result<Self, StoreError> {
        Self::open_in(&ApiContext::new(client, options.api_prefix), options).await
    }

    /// Does so in the JetStream of `context`.
    pub(crate) async fn open_in(context: &ApiContext, options: KvStoreOptions) -> Result<Self, StoreError> {
        let found = bucket::find(context, &options).await?;
        Ok(Self::over(context, &options, found))
    }

    fn over(context: &ApiContext, options: &KvStoreOptions, Found { config, time }: Found) -> Self {
        let max_age = config.max_age;
        Self {
            bucket: Bucket::new(context, options, time),
            // A maximum age of zero means no limit.
            retention: (!max_age.is_zero()).then_some(max_age),
            skew_margin: options.skew_margin,
        }
    }

    async fn try_claim(&self, slot: &Slot, lease: Duration) -> Result<Claim, StoreError> {
        let key = key(slot);
        // Most slots are new, so try to create the key first.
        let (mut expected, mut counts) = (0, Counts::FIRST);
        for _round in 0..ROUNDS {
            match self.bucket.write(&key, &Record::held(slot, counts, lease), expected).await {
                Ok(revision) => {
                    let Counts { attempt, lapsed } = counts;
                    return Ok(Claim::Acquired { fence: Fence::new(revision), attempt, lapsed });
                }
                Err(WriteError::Conflict) => {}
                Err(WriteError::Store(error)) => return Err(error),
            }
            let Some(Entry { revision, written, record }) = self.bucket.read(&key).await? else {
                (expected, counts) = (0, Counts::FIRST);
                continue;
            };
            expected = revision;
            counts = match record {
                Record::Settled { .. } => return Ok(Claim::Settled),
                Record::Free { attempt, lapsed, .. } => Counts { attempt, lapsed }.next(),
                // A repetition of this claim, whose answer was lost.
                Record::Held { claimant, attempt, lapsed, .. } if claimant == slot.claimant() => {
                    Counts { attempt, lapsed }
                }
                Record::Held { attempt, lapsed, lease_ms, .. } => {
                    let ends_at = Duration::from_millis(lease_ms).saturating_add(self.skew_margin);
                    let age = self.bucket.age(written).await;
                    match ends_at.checked_sub(age).filter(|left| !left.is_zero()) {
                        None => Counts { attempt, lapsed }.next_after_lapse(),
                        Some(left) => return Ok(Claim::Held { retry_in: left }),
                    }
                }
            };
        }
        Ok(Claim::Held { retry_in: AFTER_RACES })
    }

    async fn look(&self, slot: &Slot) -> Result<SlotState, StoreError> {
        let Some(Entry { written, record, .. }) = self.bucket.read(&key(slot)).await? else {
            return Ok(SlotState::UNKNOWN);
        };
        Ok(match record {
            Record::Settled { .. } => SlotState::Settled,
            Record::Free { attempt, .. } => SlotState::Free { attempts: attempt },
            Record::Held { attempt, lease_ms, .. } => {
                let ends_at = Duration::from_millis(lease_ms).saturating_add(self.skew_margin);
                let expires_in = ends_at.saturating_sub(self.bucket.age(written).await);
                SlotState::Held { attempts: attempt, expires_in }
            }
        })
    }

    /// Replaces the record of the grant of `fence` by one with a later end of its lease.
    async fn prolong(&self, slot: &Slot, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        let (key, fence) = (key(slot), fence.get());
        let mut since = fence;
        for _round in 0..ROUNDS {
            let Some(found) = self.read_since(&key, since).await? else {
                return Err(StoreError::new(StoreErrorKind::Fenced));
            };
            let age = self.bucket.age(found.written).await;
            let Some(renewed) = found.record.renewed(found.revision, fence, lease, age) else {
                return Err(StoreError::new(StoreErrorKind::Fenced));
            };
            match self.bucket.write(&key, &renewed, found.revision).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Store(error)) => return Err(error),
                Err(WriteError::Conflict) => since = found.revision.saturating_add(1),
            }
        }
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }

    /// Replaces the grant of `fence`, whose record is at revision `expected` unless it was renewed since. If it was
    /// replaced by the same record before, the call is a repetition and succeeds.
    async fn replace(
        &self,
        slot: &Slot,
        mut expected: u64,
        fence: Fence,
        record: Record,
    ) -> Result<(), StoreError> {
        let key = key(slot);
        for _round in 0..ROUNDS {
            match self.bucket.write(&key, &record, expected).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Store(error)) => return Err(error),
                Err(WriteError::Conflict) => {}
            }
            match self.read_since(&key, expected.saturating_add(1)).await? {
                Some(found) if found.record == record => return Ok(()),
                Some(found) if found.record.is_held_by(fence.get(), found.revision) => {
                    expected = found.revision;
                }
                _ => return Err(StoreError::new(StoreErrorKind::Fenced)),
            }
        }
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }

    /// Reads the key at this revision, which exists, or a later one.
    async fn read_since(&self, key: &str, revision: u64) -> Result<Option<Entry>, StoreError> {
        match self.bucket.read_since(key, revision).await? {
            // The server still lags behind the write that won.
            Some(found) if found.revision < revision => Err(StoreError::new(StoreErrorKind::Unavailable)),
            found => Ok(found),
        }
    }

    /// Frees the slot, and applies `counted` to its count of attempts.
    async fn free(
        &self,
        slot: &Slot,
        fence: Fence,
        counted: impl FnOnce(u32) -> u32,
    ) -> Result<(), StoreError> {
        let fenced = || StoreError::new(StoreErrorKind::Fenced);
        let found = self.read_since(&key(slot), fence.get()).await?.ok_or_else(fenced)?;
        match found.record {
            Record::Held { attempt, lapsed, .. } if found.record.is_held_by(fence.get(), found.revision) => {
                let free = Record::Free { attempt: counted(attempt), lapsed, fence: fence.get() };
                self.replace(slot, found.revision, fence, free).await
            }
            Record::Free { fence: freed, .. } if freed == fence.get() => Ok(()),
            _ => Err(fenced()),
        }
    }
}

fn key(slot: &Slot) -> String {
    format!("{}.{}", slot.consumer(), slot.key())
}

impl DedupeStore for KvStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.bucket.in_time(self.try_claim(slot, lease)).boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.bucket.in_time(self.prolong(slot, fence, lease)).boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        let settled = Record::Settled { fence: fence.get() };
        self.bucket.in_time(self.replace(slot, fence.get(), fence, settled)).boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.bucket.in_time(self.free(slot, fence, |attempt| attempt)).boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.bucket.in_time(self.free(slot, fence, |attempt| attempt.saturating_sub(1))).boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        let forgotten = Record::forgotten(fence.get());
        self.bucket.in_time(self.replace(slot, fence.get(), fence, forgotten)).boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.bucket.in_time(self.look(slot)).boxed()
    }

    fn retention(&self) -> Option<Duration> {
        self.retention
    }
}
