//! A server's stream of events, and how it is filled.

use crate::Failure;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use std::{collections::VecDeque, future::IntoFuture};
use stratt_event_bridge::{
    Envelope, EventBridge, Feed, Source, UnitPublished, async_nats, testing::NatsServer, topology::Topology,
};
use uuid::Uuid;

const IN_FLIGHT: usize = 1024;
/// So many units for each domain, since deliveries of one unit run one at a time.
const UNITS: usize = 1000;

pub(crate) struct Bench {
    pub(crate) bridge: EventBridge,
    pub(crate) context: Context,
    source: Source,
    _server: NatsServer,
}

impl Bench {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let server = NatsServer::start().await?;
        let client = server.connect().await?;
        let source: Source = "orchestrator-http:publisher:1.4.0".parse()?;
        let bridge = EventBridge::new(client.clone(), source.clone());
        bridge.provision(&Topology::default()).await?;
        Ok(Self { bridge, context: jetstream::new(client), source, _server: server })
    }

    /// Has the stream hold `count` new events, spread over so many domains.
    pub(crate) async fn fill(&self, count: usize, domains: usize) -> Result<(), Failure> {
        self.context.get_stream(Feed::Strat.stream()).await?.purge().await?;
        let mut ring = VecDeque::with_capacity(IN_FLIGHT);
        for number in 0..count {
            if ring.len() == IN_FLIGHT
                && let Some(oldest) = ring.pop_front()
            {
                IntoFuture::into_future(oldest).await?;
            }
            let (subject, event) = self.event(number, domains)?;
            // Without a message id, of which the server would remember a million.
            ring.push_back(self.context.publish(subject, event).await?);
        }
        for ack in ring {
            ack.await?;
        }
        Ok(())
    }

    fn event(&self, number: usize, domains: usize) -> Result<(String, Bytes), Failure> {
        let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse()?;
        let (domain, unit) = (domain(number % domains), number % UNITS);
        let uri = format!("strat://{domain}/rule/no-secrets-{unit:03}@1.0.0").parse()?;
        let event = UnitPublished::new(uri, fingerprint).with_actor("user:alice@example.com");
        let envelope = Envelope::builder(event, self.source.clone())
            .meta("correlationId", Uuid::new_v4().to_string())
            .build()?;
        Ok((envelope.subject(), envelope.encode()?.into()))
    }
}

pub(crate) fn domain(number: usize) -> String {
    format!("domain-{number}")
}
