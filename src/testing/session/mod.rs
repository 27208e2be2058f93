//! A session: publish an event, then wait for its end at each durable.

mod observed_store;
mod outcome;
mod published;

pub use outcome::{NotSettled, Outcome, Settled};

use crate::{
    EventBridge,
    contract::{consumer_name::ConsumerName, subject::Feed},
    dedupe::DedupeStore,
    publish::PublishReceipt,
};
use futures::future::join_all;
use observed_store::ObservedStore;
use published::Published;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A test that publishes events and waits until durables have settled them, without a pause that hopes.
///
/// The consumers run in the test, or in a program of their own. What is asked is what the broker and the stores know:
/// the acknowledgements of the durable, its dead letters, and the slot of a store that is
/// [observed](Self::observe). The user needs what an [`OperatorRole`](crate::acl::OperatorRole) may do.
///
/// ```no_run
/// use std::{error::Error, sync::Arc};
/// use stratt_event_bridge::{
///     Delivery, EventBridge, Feed, UnitPublished, dedupe::MemoryStore, testing::{NatsServer, Session},
///     topology::Topology,
/// };
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(event: UnitPublished) -> Result<(), Box<dyn Error>> {
/// let server = NatsServer::start().await?;
/// let bridge = EventBridge::new(server.connect().await?, "tests:catalogue:1.0.0".parse()?);
/// bridge.provision(&Topology::default()).await?;
///
/// let mut session = Session::new(&bridge);
/// let store = session.observe(Feed::Choco, "catalogue".parse()?, Arc::new(MemoryStore::new()));
/// let consumer = bridge
///     .consumer("catalogue", store)
///     .feed(Feed::Choco)
///     .on(|_: Delivery<UnitPublished>| async { Ok(()) })
///     .build()
///     .await?;
/// let shutdown = CancellationToken::new();
/// let running = tokio::spawn(consumer.run(shutdown.clone().cancelled_owned()));
///
/// let receipt = bridge.publish(event).await?;
/// let settled = session.settled(&receipt).await?;
/// assert!(settled.is_handled());
/// assert_eq!(settled.at("catalogue").and_then(|outcome| outcome.attempts()), Some(1));
/// shutdown.cancel();
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    bridge: EventBridge,
    durables: Vec<Watched>,
    deadline: Duration,
}

/// A durable of a session.
#[derive(Debug)]
struct Watched {
    feed: Feed,
    name: ConsumerName,
    store: Option<Arc<ObservedStore>>,
}

impl Session {
    /// The default time limit of [`settled`](Self::settled).
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

    /// Returns a session without durables, whose events are published by `bridge` or by anyone else in its account.
    #[must_use]
    pub fn new(bridge: &EventBridge) -> Self {
        Self { bridge: bridge.clone(), durables: Vec::new(), deadline: Self::DEFAULT_DEADLINE }
    }

    /// Sets how long [`settled`](Self::settled) waits; 30 s by default.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Adds a durable, which may be that of another process.
    ///
    /// That it has handled an event is known once it has answered this event and all that it was delivered before.
    pub fn add(&mut self, feed: Feed, durable: ConsumerName) {
        self.durables.push(Watched { feed, name: durable, store: None });
    }

    /// Adds a durable, and returns its store as its consumer is to have it, so that attempts are counted, and that an
    /// event was handled is known as soon as its slot is settled.
    pub fn observe(
        &mut self,
        feed: Feed,
        durable: ConsumerName,
        store: Arc<dyn DedupeStore>,
    ) -> Arc<dyn DedupeStore> {
        let store = Arc::new(ObservedStore::over(store));
        self.durables.push(Watched { feed, name: durable, store: Some(Arc::clone(&store)) });
        store
    }

    /// Waits until each durable has handled the event of `receipt` or has a dead letter of it.
    ///
    /// # Errors
    ///
    /// [`NotSettled`] when that takes longer than the [deadline](Self::with_deadline), with all that is known of the
    /// event, or when the broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn settled(&self, receipt: &PublishReceipt) -> Result<Settled, NotSettled> {
        let event = Published::read(&self.bridge, receipt).await?;
        let deadline = Instant::now() + self.deadline;
        let ends = self.durables.iter().map(|durable| event.end_at(durable, deadline));
        let mut outcomes = Vec::new();
        for (end, durable) in join_all(ends).await.into_iter().zip(&self.durables) {
            match end? {
                Some(outcome) => outcomes.push(outcome),
                None => return Err(event.not_settled(durable, self).await),
            }
        }
        Ok(Settled(outcomes))
    }
}
