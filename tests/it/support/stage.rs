use super::{eventually, source};
use async_nats::jetstream::{self, consumer::pull, stream};
use futures::TryStreamExt;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConsumerBuilder, ConsumerOptions, EventBridge, Feed, async_nats,
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetters},
    dedupe::{DedupeStore, MemoryStore},
    testing::NatsServer,
    topology::Topology,
};

/// A server with the three streams, and a bridge on it.
pub struct Stage {
    pub server: NatsServer,
    pub client: async_nats::Client,
    pub bridge: EventBridge,
    pub store: Arc<dyn DedupeStore>,
}

impl Stage {
    pub async fn new() -> Self {
        let server = NatsServer::start().await.unwrap();
        let client = server.connect().await.unwrap();
        let bridge = EventBridge::new(client.clone(), source());
        bridge.provision(&Topology::default()).await.unwrap();
        Self { server, client, bridge, store: Arc::new(MemoryStore::new()) }
    }

    /// A consumer named `name` with quick retries and the store of this stage.
    pub fn consumer(&self, name: &str) -> ConsumerBuilder {
        self.bridge.consumer(name, Arc::clone(&self.store)).options(quick())
    }

    pub fn context(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    pub async fn stream(&self, feed: Feed) -> stream::Stream {
        self.context().get_stream(feed.stream()).await.unwrap()
    }

    /// Waits until the durable has nothing left: everything it was due is acknowledged or terminated.
    pub async fn all_answered(&self, feed: Feed, durable: &str) {
        let stream = self.stream(feed).await;
        let state = || async {
            let info = stream.get_consumer::<pull::Config>(durable).await.unwrap().cached_info().clone();
            (info.num_pending, info.num_ack_pending)
        };
        eventually("pending and unanswered messages", state, |left| *left == (0, 0)).await;
    }

    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let dead_letters = DeadLetters::new(&self.bridge);
        dead_letters.list(DeadLetterFilter::default()).await.unwrap().try_collect().await.unwrap()
    }

    /// Waits until there are so many dead letters.
    pub async fn dead_letters_are(&self, count: usize) -> Vec<DeadLetter> {
        eventually("dead letters", || self.dead_letters(), |letters| letters.len() == count).await
    }
}

/// Options with short retries, so that tests end soon.
pub fn quick() -> ConsumerOptions {
    ConsumerOptions::default()
        .with_retry_delays([Duration::from_millis(20)])
        .with_max_attempts(3)
        .with_shutdown_grace(Duration::from_secs(5))
}
