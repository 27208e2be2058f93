//! The cluster, the streams, the networks and the ledger.

use crate::{Failure, children::Children, consumer, network::Network, settings::Settings};
use ledger::{Balance, Ledger};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    ConsumerName, EventBridge, Feed,
    async_nats::jetstream::{self, consumer::pull},
    dedupe::{DedupeStore, KvStore},
    testing::NatsCluster,
    topology::Topology,
};
use tempfile::TempDir;

/// The time limit of the last events after the last fault: a source that failed often waits long before it tries again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(240);

pub struct Stage {
    cluster: NatsCluster,
    bridge: EventBridge,
    networks: Arc<Networks>,
    ledger: Ledger,
    is_ordered: bool,
    folder: TempDir,
}

/// The networks of the two sides.
#[derive(Debug)]
pub struct Networks {
    pub publishers: Network,
    pub consumers: Network,
}

impl Stage {
    pub async fn start(settings: Settings) -> Result<Self, Failure> {
        let cluster = NatsCluster::start(3).await?;
        let bridge = EventBridge::new(cluster.connect().await?, "orchestrator-http:soak:0.1.0".parse()?);
        bridge.provision(&Topology::default().with_replicas(3)).await?;
        KvStore::create(bridge.client().clone(), consumer::store_options()).await?;
        let networks =
            Networks { publishers: Network::to(&cluster).await?, consumers: Network::to(&cluster).await? };
        let folder = tempfile::Builder::new().prefix("stratt-soak-").tempdir()?;
        let ledger = Ledger::new(settings.seed, folder.path().join("journal")).explaining(settings.explained);
        let ledger = if settings.is_ordered { ledger.strictly_ordered() } else { ledger };
        Ok(Self {
            cluster,
            bridge,
            networks: Arc::new(networks),
            ledger,
            is_ordered: settings.is_ordered,
            folder,
        })
    }

    pub fn cluster_mut(&mut self) -> &mut NatsCluster {
        &mut self.cluster
    }

    pub fn networks(&self) -> Arc<Networks> {
        Arc::clone(&self.networks)
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn server_version(&self) -> String {
        self.bridge.client().server_info().version
    }

    /// Waits until every event is forwarded and acknowledged, or returns what is left.
    pub async fn wait_until_answered(&self, children: &mut Children) -> Result<(), String> {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        loop {
            children.restart_ended();
            let left = self.left().await.unwrap_or_else(|error| error.to_string());
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(left);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn left(&self) -> Result<String, Failure> {
        let context = jetstream::new(self.bridge.client().clone());
        let stored = context.get_stream(Feed::Strat.stream()).await?.cached_info().state.messages;
        let forwarded = context.get_stream(Feed::Choco.stream()).await?;
        let due = forwarded.cached_info().state.messages;
        let durable = forwarded.get_consumer::<pull::Config>(consumer::DURABLE).await?;
        let info = durable.cached_info();
        if (stored, info.num_pending, info.num_ack_pending) == (due, 0, 0) {
            return Ok(String::new());
        }
        let (pending, unanswered) = (info.num_pending, info.num_ack_pending);
        Ok(format!("{stored} stored, {due} forwarded, {pending} not delivered, {unanswered} not answered"))
    }

    pub async fn balance(&self) -> Result<Balance, Failure> {
        let store: Arc<dyn DedupeStore> =
            Arc::new(self.bridge.open_kv_store(consumer::store_options()).await?);
        let durable: ConsumerName = consumer::DURABLE.parse()?;
        Ok(self.ledger.balance(&self.bridge, Feed::Choco, &durable, &store).await?)
    }

    /// Keeps the folder, and returns its path.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}
