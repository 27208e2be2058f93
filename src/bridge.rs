//! The event bridge: where publishing and consuming begin.

mod publish;

use crate::{
    consumer::{Company, ConsumerBuilder},
    contract::{event::key::IdempotencyKey, source::Source, subject::Feed},
    dead_letter::{DeadLetters, Sweeper},
    dedupe::{DedupeStore, KvStore, KvStoreOptions, StoreError},
    durables::Durables,
    explain::ExplainBuilder,
    link::Link,
    nats::{api_context::ApiContext, connection_watch::ConnectionWatch},
    publish::BridgeOptions,
    topology::{
        Access, Forwarding, ForwardingOptions, ForwardingWatch, Memory, Topology, TopologyError, heal,
        status::BridgeStatus,
    },
    watch::WatchBuilder,
};
use async_nats::{Client, jetstream};
use std::{sync::Arc, time::Duration};

/// The time limit of each answer when forwarding is looked at.
const LOOK_WITHIN: Duration = Duration::from_secs(4);

/// A bridge that publishes typed events to JetStream, and builds durable consumers of them.
///
/// The host owns the connection with its TLS and credentials; a bridge is a cheap, cloneable handle on top.
///
/// ```no_run
/// use stratt_event_bridge::{EventBridge, Source, UnitPublished, async_nats, topology::Topology};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
/// let bridge = EventBridge::new(client, "orchestrator-http:publisher:1.4.0".parse::<Source>()?);
/// bridge.provision(&Topology::default()).await?;
///
/// let fingerprint = format!("blake3:{}", "0".repeat(64)).parse()?;
/// let event = UnitPublished::new("strat://dev/rule/no-secrets@1.0.0".parse()?, fingerprint);
/// let receipt = bridge.publish(event).await?;
/// println!("stored as {} of {}", receipt.sequence(), receipt.stream());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EventBridge {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    /// All that holds a claim: an event that may kill the process runs alone.
    company: Arc<Company>,
    /// The proof of forwarding, as far as it was seen.
    forwarding: Arc<Memory>,
    source: Source,
    options: BridgeOptions,
}

impl EventBridge {
    /// Returns a bridge over `client` that announces events in the name of `source`.
    #[must_use]
    pub fn new(client: Client, source: Source) -> Self {
        Self::with_options(client, source, BridgeOptions::default())
    }

    /// Returns a bridge with these options.
    #[must_use]
    pub fn with_options(client: Client, source: Source, options: BridgeOptions) -> Self {
        let context = ApiContext::new(client, options.api_prefix());
        // Observes nothing until it is replaced by the watch of the connection.
        let link = Arc::new(Link::new(context, options, ConnectionWatch::new()));
        let (company, forwarding) = (Arc::default(), Arc::default());
        Self { inner: Arc::new(Inner { link, company, forwarding, source, options }) }
    }

    /// Returns a bridge that reports missing permissions as such, since `watch` observes its connection.
    ///
    /// Consumers and dead letters of the bridge that is returned have it as well.
    #[must_use]
    pub fn with_connection_watch(self, watch: ConnectionWatch) -> Self {
        let Inner { link, company, forwarding, source, options } = &*self.inner;
        let link = Arc::new(Link::new(link.context.clone(), *options, watch));
        let (company, forwarding) = (Arc::clone(company), Arc::clone(forwarding));
        let (source, options) = (source.clone(), *options);
        Self { inner: Arc::new(Inner { link, company, forwarding, source, options }) }
    }

    /// Returns the connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.link.client
    }

    /// Returns JetStream as this bridge reaches it, in its [domain](BridgeOptions::with_jetstream_domain) or behind its
    /// [prefix](BridgeOptions::with_api_prefix).
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.link.context
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &BridgeOptions {
        &self.inner.options
    }

    /// Returns the author of the events that are announced.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.inner.source
    }

    #[cfg(any(feature = "console", feature = "postgres", feature = "sqlite", feature = "testing"))]
    pub(crate) fn link(&self) -> &Link {
        &self.inner.link
    }

    fn explained(&self, error: TopologyError) -> TopologyError {
        error.explained(self.inner.link.watch.disconnected(&self.inner.link.client))
    }

    /// Creates the streams of `topology`, or changes what differs from it. Settings that are not part of it, such as a
    /// description, stay. Running it twice, or from several processes at once, is harmless.
    ///
    /// # Errors
    ///
    /// A [`TopologyError`] that names stream, field, what is wanted and what was found. When the settings are not
    /// valid, the server is too old or a field cannot be changed, nothing was touched.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave some of the streams done; provisioning again does the rest.
    pub async fn provision(&self, topology: &Topology) -> Result<(), TopologyError> {
        topology.check_budget(self.inner.options.retry_budget())?;
        topology.provision(&self.inner.link.context).await.map_err(|error| self.explained(error))
    }

    /// Checks that the streams are as `topology` describes them, and changes nothing.
    ///
    /// # Errors
    ///
    /// A [`TopologyError`] with every difference there is.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn verify(&self, topology: &Topology) -> Result<(), TopologyError> {
        topology.check_budget(self.inner.options.retry_budget())?;
        topology.verify(&self.inner.link.context).await.map_err(|error| self.explained(error))
    }

    /// Looks at the broker's forwarding of events to Choco: up to where it is proven, how far and for how long it is
    /// behind, and what the broker says of it.
    ///
    /// For a health check: the broker does not report that forwarding stops, and a consumer of
    /// [`Feed::Choco`](crate::Feed::Choco) simply receives nothing. The bridge and its clones remember what they saw,
    /// so that looks at any interval find a stall; [`watch_forwarding`](Self::watch_forwarding) looks by itself.
    ///
    /// # Errors
    ///
    /// A [`TopologyError`] when `CHOCO_STRATT` does not exist, is not fed by `STRATT_EVENTS`, or cannot be read
    /// (`$JS.API.STREAM.INFO.CHOCO_STRATT` must be allowed, and what a [`WatcherRole`](crate::acl::WatcherRole) may
    /// do for a proof).
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn forwarding(&self) -> Result<Forwarding, TopologyError> {
        let seen = Forwarding::read(&self.inner.forwarding, &self.access(), None).await;
        seen.map_err(|error| self.explained(error))
    }

    /// Returns a watch of the forwarding to Choco, for health checks and metrics. It does nothing until
    /// [`run`](ForwardingWatch::run).
    #[must_use]
    pub fn watch_forwarding(&self, options: ForwardingOptions) -> ForwardingWatch {
        ForwardingWatch::new(self.access(), None, Arc::clone(&self.inner.forwarding), options)
    }

    /// Returns a watch of the forwarding to Choco in an [account of its own](crate::topology::TwoAccounts): this
    /// bridge is connected to that account, and `origin` to the one with the events.
    #[must_use]
    pub fn watch_forwarding_from(&self, origin: &Self, options: ForwardingOptions) -> ForwardingWatch {
        let memory = Arc::clone(&self.inner.forwarding);
        ForwardingWatch::new(self.access(), Some(origin.access()), memory, options)
    }

    /// Lets another server lead `CHOCO_STRATT`, so that forwarding that is stalled starts again. First aid: every event
    /// that is owed is then forwarded, and if it soon stalls again, [flow control is
    /// missing](Forwarding::lacks_flow_control).
    ///
    /// The user needs permission for `$JS.API.STREAM.LEADER.STEPDOWN.CHOCO_STRATT`, which no role has but
    /// [`WatcherRole::healing`](crate::acl::WatcherRole::healing).
    ///
    /// # Errors
    ///
    /// A [`TopologyError`] of kind [`TooSoon`] within five minutes of the last heal by this bridge, its clones and its
    /// watches, and [`Refused`] when the permission is missing or the server has no cluster: restart it instead.
    ///
    /// [`TooSoon`]: crate::topology::TopologyErrorKind::TooSoon
    /// [`Refused`]: crate::topology::TopologyErrorKind::Refused
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the leader steps down, and does not count as a heal.
    pub async fn heal_forwarding(&self) -> Result<(), TopologyError> {
        heal(&self.inner.forwarding, &self.access()).await.map_err(|error| self.explained(error))
    }

    fn access(&self) -> Access {
        let Inner { link, .. } = &*self.inner;
        Access { context: link.context.clone(), watch: link.watch.clone(), within: LOOK_WITHIN }
    }

    /// Returns the status of the broker, for a health check: the connection, the server, the streams, the forwarding
    /// to Choco and the number of dead letters.
    ///
    /// Infallible: values that the broker did not report are `None`. Returns within 2 s, and at once while
    /// disconnected. The status of a consumer is in its [`monitor`](crate::DurableConsumer::monitor).
    ///
    /// The user needs permission for `$JS.API.STREAM.INFO.*`; without it, everything but the connection is unknown. To
    /// prove the forwarding, it needs what a [`WatcherRole`](crate::acl::WatcherRole) may do.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn status(&self) -> BridgeStatus {
        let Inner { link, forwarding, .. } = &*self.inner;
        BridgeStatus::ask(&link.context, &link.watch, forwarding).await
    }

    /// Opens a dedupe store in the JetStream of this bridge, and creates its bucket if it does not exist: as
    /// [`KvStore::create`], with the domain or prefix of the bridge.
    ///
    /// # Errors
    ///
    /// As for [`KvStore::create`].
    ///
    /// # Cancel safety
    ///
    /// As for [`KvStore::create`].
    pub async fn create_kv_store(&self, options: KvStoreOptions) -> Result<KvStore, StoreError> {
        KvStore::create_in(&self.inner.link.context, options).await
    }

    /// Opens an existing dedupe store in the JetStream of this bridge: as [`KvStore::open`], with the domain or prefix
    /// of the bridge.
    ///
    /// # Errors
    ///
    /// As for [`KvStore::open`].
    ///
    /// # Cancel safety
    ///
    /// As for [`KvStore::open`].
    pub async fn open_kv_store(&self, options: KvStoreOptions) -> Result<KvStore, StoreError> {
        KvStore::open_in(&self.inner.link.context, options).await
    }

    /// Returns a builder of a durable consumer named `name`: a [`ConsumerName`](crate::ConsumerName), or text that
    /// [`build`](ConsumerBuilder::build) checks (`[A-Za-z0-9_-]{1,64}`).
    ///
    /// A store is not optional: the broker delivers at least once, and consumers must dedupe.
    pub fn consumer(&self, name: impl AsRef<str>, store: Arc<dyn DedupeStore>) -> ConsumerBuilder {
        let Inner { link, company, .. } = &*self.inner;
        ConsumerBuilder::new(Arc::clone(link), Arc::clone(company), name.as_ref(), store)
    }

    /// Returns a builder of a [`Watch`](crate::watch::Watch): live events in the order of the stream, for caches in
    /// every replica and for tools, without a durable and without dedupe.
    pub fn watch(&self, feed: Feed) -> WatchBuilder {
        WatchBuilder::new(&self.inner.link, feed)
    }

    /// Returns the dead letters of the broker that this bridge is connected to, to list, show, redrive and discard.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(&self.inner.link)
    }

    /// Returns the durables of the feeds, to look at, pause and resume.
    #[must_use]
    pub fn durables(&self) -> Durables {
        Durables::new(&self.inner.link)
    }

    /// Returns a question for the way of one event: where it is stored, and what became of it at each durable.
    pub fn explain(&self, key: IdempotencyKey) -> ExplainBuilder {
        ExplainBuilder::new(&self.inner.link, key)
    }

    /// Returns a sweeper, which stores the dead letters of events that the server itself gave up, for the durables of
    /// `feed`.
    ///
    /// It does nothing until [`run`](Sweeper::run).
    #[must_use]
    pub fn sweeper(&self, feed: Feed) -> Sweeper {
        Sweeper::new(&self.inner.link, feed)
    }
}
