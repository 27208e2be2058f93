//! A server's streams, and events for them.

use crate::Failure;
use async_nats::jetstream::{self, Context};
use std::sync::atomic::{AtomicU64, Ordering};
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, Feed, Source, UnitPublished, async_nats, testing::NatsServer,
    topology::Topology,
};
use uuid::Uuid;

pub(crate) struct Bench {
    pub(crate) client: async_nats::Client,
    pub(crate) bridge: EventBridge,
    pub(crate) context: Context,
    source: Source,
    envelopes: AtomicU64,
}

impl Bench {
    pub(crate) async fn new(server: &NatsServer) -> Result<Self, Failure> {
        let client = server.connect().await?;
        let source: Source = "orchestrator-http:publisher:1.4.0".parse()?;
        let bench = Self {
            bridge: EventBridge::new(client.clone(), source.clone()),
            context: jetstream::new(client.clone()),
            client,
            source,
            envelopes: AtomicU64::new(0),
        };
        bench.bridge.provision(&Topology::default().with_batches(true)).await?;
        Ok(bench)
    }

    pub(crate) fn bridge_with(&self, in_flight: usize) -> EventBridge {
        let options = BridgeOptions::default().with_max_in_flight(in_flight);
        EventBridge::with_options(self.client.clone(), self.source.clone(), options)
    }

    /// One of a thousand units, since deliveries of one unit run one at a time.
    pub(crate) fn envelope(&self) -> Result<Envelope<UnitPublished>, Failure> {
        let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse()?;
        let unit = self.envelopes.fetch_add(1, Ordering::Relaxed) % 1000;
        let event =
            UnitPublished::new(format!("strat://dev/rule/no-secrets-{unit:03}@1.0.0").parse()?, fingerprint);
        Ok(Envelope::builder(event.with_actor("user:alice@example.com"), self.source.clone())
            .meta("correlationId", Uuid::new_v4().to_string())
            .build()?)
    }

    pub(crate) fn envelopes(&self, count: usize) -> Result<Vec<Envelope<UnitPublished>>, Failure> {
        (0..count).map(|_| self.envelope()).collect()
    }

    pub(crate) async fn empty(&self) -> Result<(), Failure> {
        self.context.get_stream(Feed::Strat.stream()).await?.purge().await?;
        Ok(())
    }
}
