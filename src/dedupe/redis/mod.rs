//! The store in Redis.

mod check;
mod demoted;
mod key_prefix;
mod options;
mod script;

pub use key_prefix::KeyPrefix;
pub use options::RedisStoreOptions;

use crate::dedupe::{
    Claim, DedupeStore, Fence, Slot, SlotState, StoreError, StoreErrorKind, coalesce::Coalescer,
};
use demoted::Leaving;
use futures::{FutureExt, future::BoxFuture};
use redis::aio::ConnectionManager;
use script::{Answer, Op, Script, What};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// The most slots in one call of the script, which blocks the server while it runs: about 1 ms.
const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Two calls: one is in flight while the answers to the other are handed out.
const MAX_ROUNDS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// A store in Redis, version 6 or later, or Valkey; shared by all processes of a consumer.
///
/// Every slot is one key, which lives for the retention after its last change. A script carries out the operations, so
/// each is atomic and uses the server's clock; the clocks of consumers do not matter. A lone operation is one round
/// trip; under load one round trip carries many.
///
/// The fence of a claim is greater than all fences granted before, and than the server's time in microseconds. It is
/// never used twice, even if the slot has expired or the server has lost its data, unless the server's clock is also
/// set back.
///
/// The host owns the connection, with its TLS and credentials. It is a [`ConnectionManager`], since that reconnects
/// after an outage; a plain multiplexed connection would end with the server. When a server takes no more writes, such
/// as a primary that was demoted, the store closes the connection, and the next one reaches the new primary if the
/// address leads there. [`docs::dedupe`](crate::docs::dedupe) describes the settings of Redis and the data it can lose.
///
/// ```no_run
/// use std::sync::Arc;
/// use stratt_event_bridge::dedupe::{RedisStore, RedisStoreOptions};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = redis::Client::open("redis://127.0.0.1:6379")?.get_connection_manager().await?;
/// let store = Arc::new(RedisStore::open(connection, RedisStoreOptions::default()).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisStore {
    options: RedisStoreOptions,
    coalescer: Coalescer<Op, Answer>,
}

impl RedisStore {
    /// Opens a store on the server of this connection.
    ///
    /// # Errors
    ///
    /// [`Invalid`](StoreErrorKind::Invalid) when the retention is not within 1 ms to 100 years;
    /// [`Mismatch`](StoreErrorKind::Mismatch) when the server could lose settled slots, since it evicts keys when its
    /// memory is full or keeps no append-only file (see
    /// [`with_loss_on_restart`](RedisStoreOptions::with_loss_on_restart)), or when it is a replica or a node of a
    /// cluster; [`Unavailable`](StoreErrorKind::Unavailable) when it does not answer within the operation timeout. A
    /// server that does not report its settings is accepted with a `tracing` warning.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect except that the server may have cached the script.
    pub async fn open(
        mut connection: ConnectionManager,
        options: RedisStoreOptions,
    ) -> Result<Self, StoreError> {
        options.check()?;
        let time = options.operation_timeout;
        let script = in_time(time, async {
            check::check(&mut connection, &options).await?;
            Script::load(&mut connection, options.prefix.as_str(), options.retention).await
        });
        let (script, leaving) = (Arc::new(script.await?), Arc::new(Leaving::default()));
        let run = move |ops: Vec<Op>| {
            let (script, leaving, mut connection) =
                (Arc::clone(&script), Arc::clone(&leaving), connection.clone());
            in_time(time, async move {
                let answered = script.run(&mut connection, &ops).await;
                leaving.after(&answered, &mut connection).await;
                answered
            })
        };
        Ok(Self { options, coalescer: Coalescer::new(MAX_BATCH, MAX_ROUNDS, run) })
    }

    async fn call(&self, slot: &Slot, what: What) -> Result<Answer, StoreError> {
        let op = Op::new(self.options.prefix.as_str(), slot, what);
        in_time(self.options.operation_timeout, self.coalescer.call(op)).await
    }

    async fn write(&self, slot: &Slot, what: What) -> Result<(), StoreError> {
        match self.call(slot, what).await? {
            Answer::Done => Ok(()),
            answer => Err(answer.to_error()),
        }
    }
}

async fn in_time<T>(
    time: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let elapsed = |error| StoreError::new(StoreErrorKind::Unavailable).caused_by(error);
    tokio::time::timeout(time, operation).await.map_err(elapsed)?
}

impl DedupeStore for RedisStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            match self.call(slot, What::Claim { claimant: slot.claimant(), lease }).await? {
                Answer::Acquired { fence, attempt, lapsed } => Ok(Claim::Acquired { fence, attempt, lapsed }),
                Answer::Held { retry_in } => Ok(Claim::Held { retry_in }),
                Answer::Settled => Ok(Claim::Settled),
                answer => Err(answer.to_error()),
            }
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(slot, What::Renew { fence, lease }).boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(slot, What::Settle(fence)).boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(slot, What::Release(fence)).boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(slot, What::Defer(fence)).boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(slot, What::Forget(fence)).boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        async move {
            match self.call(slot, What::Peek).await? {
                Answer::Seen(state) => Ok(state),
                Answer::Settled => Ok(SlotState::Settled),
                answer => Err(answer.to_error()),
            }
        }
        .boxed()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.options.retention)
    }
}
