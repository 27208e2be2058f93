//! A store in Redis.

mod check;
mod demoted;
mod options;
mod script;

pub use options::RedisStoreOptions;

use crate::dedupe::{Claim, DedupeStore, Fence, Slot, StoreError, StoreErrorKind, coalesce::Coalescer};
use demoted::Leaving;
use futures::{FutureExt, future::BoxFuture};
use redis::aio::ConnectionManager;
use script::{Answer, Op, Script, What};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// The most slots in one call of the script, which keeps the server from all else while it runs: about 1 ms.
const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// One call is under way while the answers to the other are handed out.
const MAX_ROUNDS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// A store in Redis, version 6 or later, or Valkey; shared by all processes of a consumer.
///
/// Every slot is one key, which lives for the retention after its last change. A script does the work, so that each
/// operation is one step for everybody, by the server's own clock, whatever clocks the machines of consumers have. A
/// lone operation is one round trip; under load one round trip carries many.
///
/// The fence of a claim is greater than all that were granted before, and than the server's time in microseconds: it
/// is never used twice, not even when the slot has expired or the server has lost its data, unless its clock is also
/// set back.
///
/// The host owns the connection, with its TLS and credentials. It is a [`ConnectionManager`], since that one connects
/// again by itself when the server was away; a plain multiplexed connection would end with the server. A server that takes
/// no writes any more, such as a primary that was demoted, is left: the connection is ended, and the new one leads to the
/// primary if the address does. What Redis can forget, and how to set it, is told in [`docs::dedupe`](crate::docs::dedupe).
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
    /// A store on the server of this connection.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](StoreErrorKind::Mismatch) when the server could lose what was settled, since it evicts keys when
    /// its memory is full or keeps no append-only file
    /// (see [`allow_loss_on_restart`](RedisStoreOptions::allow_loss_on_restart)), or when it is a replica or a node of
    /// a cluster; [`Unavailable`](StoreErrorKind::Unavailable) when it does not answer within the operation timeout.
    /// A server that does not tell is taken, with a `tracing` warning.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect but that the server may know the script.
    pub async fn open(
        mut connection: ConnectionManager,
        options: RedisStoreOptions,
    ) -> Result<Self, StoreError> {
        let time = options.operation_timeout;
        let script = in_time(time, async {
            check::check(&mut connection, &options).await?;
            Script::load(&mut connection, &options.prefix, options.retention).await
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
        let op = Op::new(&self.options.prefix, slot, what);
        in_time(self.options.operation_timeout, self.coalescer.call(op)).await
    }

    async fn write(&self, slot: &Slot, what: What) -> Result<(), StoreError> {
        match self.call(slot, what).await? {
            Answer::Done => Ok(()),
            answer => Err(answer.refusal()),
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
                Answer::Acquired { fence, attempt } => Ok(Claim::Acquired { fence, attempt }),
                Answer::Held { retry_in } => Ok(Claim::Held { retry_in }),
                Answer::Settled => Ok(Claim::Settled),
                answer => Err(answer.refusal()),
            }
        }
        .boxed()
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

    fn retention(&self) -> Option<Duration> {
        Some(self.options.retention)
    }
}
