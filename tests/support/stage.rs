use super::{eventually, number_of, source};
use async_nats::{
    ConnectOptions,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        stream,
    },
};
use futures::TryStreamExt;
use std::{collections::HashMap, sync::Arc, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, ConsumerBuilder, ConsumerOptions, Envelope, Event, EventBridge, Feed, JetStreamDomain,
    PublishReceipt, async_nats,
    dead_letter::{DeadLetter, DeadLetterFilter},
    dedupe::{DedupeStore, MemoryStore},
    testing::{FaultProxy, NatsCluster, NatsServer, NatsServerBuilder},
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Topology},
};
use tokio::time::timeout;

/// The version of the server that is fetched if none is installed.
pub const NEWEST: &str = "2.15.1";

/// A server, or a cluster, with the three streams, and a bridge on it.
pub struct Stage<S = NatsServer> {
    pub server: S,
    pub client: async_nats::Client,
    pub bridge: EventBridge,
    pub store: Arc<dyn DedupeStore>,
}

impl Stage {
    /// Returns a bridge that reaches the server through a network that fails on demand.
    pub async fn through_proxy(&self, attempt_timeout: Duration) -> (FaultProxy, EventBridge) {
        let proxy = FaultProxy::start(self.server.url()).await.unwrap();
        let client = ConnectOptions::new()
            .ignore_discovered_servers()
            .reconnect_delay_callback(|_attempt| Duration::from_millis(20))
            .connect(proxy.url())
            .await
            .unwrap();
        let options = BridgeOptions::default().with_attempt_timeout(attempt_timeout);
        (proxy, EventBridge::with_options(client, source(), options))
    }

    pub async fn new() -> Self {
        Self::on(NatsServer::start().await.unwrap()).await
    }

    /// Starts the newest server, for what older ones cannot do, whichever the other tests run on.
    pub async fn on_newest() -> Self {
        Self::on(NatsServer::builder().version(NEWEST).start().await.unwrap()).await
    }

    /// Starts the server of the other tests, or the newest if that is older than 2.`minor`, for what such servers
    /// cannot do.
    pub async fn since(minor: i64) -> Self {
        let stage = Self::new().await;
        if stage.client.is_server_compatible(2, minor, 0) { stage } else { Self::on_newest().await }
    }

    pub async fn on(server: NatsServer) -> Self {
        let client = server.connect().await.unwrap();
        let bridge = EventBridge::new(client.clone(), source());
        bridge.provision(&Topology::default()).await.unwrap();
        Self { server, client, bridge, store: Arc::new(MemoryStore::new()) }
    }
}

/// A hub with the JetStream domain `hub`, and a leaf node of it.
pub struct HubAndLeaf {
    pub hub: NatsServer,
    pub leaf: NatsServer,
}

impl HubAndLeaf {
    /// Starts both; the leaf node has a JetStream of its own, in the domain `leaf`.
    pub async fn start() -> Self {
        let leaf = NatsServer::builder().jetstream_domain("leaf".parse().unwrap());
        Self::of(NatsServer::builder(), leaf).await
    }

    /// Starts both with more configuration.
    pub async fn of(hub: NatsServerBuilder, leaf: NatsServerBuilder) -> Self {
        let hub = hub.jetstream_domain(hub_domain()).accepting_leaf_nodes().start().await.unwrap();
        let leaf = leaf.leaf_of(&hub).start().await.unwrap();
        Self { hub, leaf }
    }
}

pub fn hub_domain() -> JetStreamDomain {
    "hub".parse().unwrap()
}

/// A leaf node whose bridge uses the JetStream of the hub.
pub type LeafStage = Stage<HubAndLeaf>;

impl LeafStage {
    pub async fn on_leaf(server: HubAndLeaf) -> Self {
        let client = server.leaf.connect().await.unwrap();
        let options = BridgeOptions::default().with_jetstream_domain(hub_domain());
        let bridge = EventBridge::with_options(client.clone(), source(), options);
        bridge.provision(&Topology::default()).await.unwrap();
        Self { server, client, bridge, store: Arc::new(MemoryStore::new()) }
    }
}

/// A cluster of three, whose streams have three replicas.
pub type ClusterStage = Stage<NatsCluster>;

impl ClusterStage {
    pub async fn on_cluster() -> Self {
        let server = NatsCluster::start(3).await.unwrap();
        let client = server.connect().await.unwrap();
        let bridge = EventBridge::new(client.clone(), source());
        // A new cluster may not answer in time when it is first asked for a stream.
        let topology = Topology::default().with_replicas(3);
        eventually("provisioning", || bridge.provision(&topology), Result::is_ok).await.unwrap();
        for stream in [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM] {
            server.wait_until_healthy(stream).await.unwrap();
        }
        Self { server, client, bridge, store: Arc::new(MemoryStore::new()) }
    }
}

impl<S> Stage<S> {
    /// Returns a builder of a consumer named `name` with quick retries and the store of this stage.
    pub fn consumer(&self, name: &str) -> ConsumerBuilder {
        self.bridge.consumer(name, Arc::clone(&self.store)).options(quick())
    }

    pub fn context(&self) -> jetstream::Context {
        self.bridge.jetstream().clone()
    }

    pub async fn stream(&self, feed: Feed) -> stream::Stream {
        self.context().get_stream(feed.stream()).await.unwrap()
    }

    /// Waits until the durable has nothing left: everything that the stream has for it is acknowledged or terminated.
    pub async fn all_answered(&self, feed: Feed, durable: &str) {
        let context = self.context();
        let state = || async {
            // While a cluster elects a leader, perhaps no server knows the durable.
            let found = context.get_consumer_from_stream::<pull::Config, _, _>(durable, feed.stream());
            let info = timeout(Duration::from_secs(2), found).await.ok()?.ok()?.cached_info().clone();
            Some((info.num_pending, info.num_ack_pending))
        };
        eventually("pending and unanswered messages", state, |left| *left == Some((0, 0))).await;
    }

    /// Checks that everything that was acknowledged is stored at the sequence of its receipt, and nothing else is
    /// stored.
    pub async fn stored_once(&self, acknowledged: &[(u64, PublishReceipt)]) {
        let stream = self.stream(Feed::Strat).await;
        assert_eq!(stream.cached_info().state.messages, acknowledged.len() as u64);
        let read = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let all = || async {
            // While a cluster elects a leader, no server may answer.
            let read = stream.create_consumer(read.clone()).await.ok()?;
            // The replica that is read from may lag.
            let messages = read.batch().max_messages(acknowledged.len()).expires(Duration::from_secs(20));
            let messages: Vec<_> = messages.messages().await.ok()?.try_collect().await.ok()?;
            Some(messages)
        };
        let messages = eventually("stored messages", all, Option::is_some).await.unwrap();
        let stored: HashMap<u64, u64> = messages
            .iter()
            .map(|message| {
                let stored: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
                (message.info().unwrap().stream_sequence, number_of(stored.event().fingerprint()))
            })
            .collect();
        for (number, receipt) in acknowledged {
            assert_eq!(stored.get(&receipt.sequence()), Some(number), "{receipt:?}");
        }
    }

    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let dead_letters = self.bridge.dead_letters();
        dead_letters.list(DeadLetterFilter::default()).await.unwrap().try_collect().await.unwrap()
    }

    /// Waits until there are this many dead letters.
    pub async fn dead_letters_are(&self, count: usize) -> Vec<DeadLetter> {
        eventually("dead letters", || self.dead_letters(), |letters| letters.len() == count).await
    }
}

/// Returns options for events whose answers may be lost: they are redelivered after the ack wait, which must not
/// outlast the test.
pub fn short() -> ConsumerOptions {
    quick()
        .with_processing_timeout(Duration::from_secs(1))
        .with_lease(Duration::from_secs(2))
        .with_ack_wait(Duration::from_secs(3))
}

/// Options with few, short retries, so that tests end soon, and without a circuit breaker: here events fail by
/// themselves.
pub fn quick() -> ConsumerOptions {
    ConsumerOptions::default()
        .with_circuit_breaker(None)
        .with_retry_delays([Duration::from_millis(20)])
        .with_max_attempts(3)
        .with_shutdown_grace(Duration::from_secs(5))
}
