//! Consuming a backlog.

use crate::{
    Bench, Failure,
    measure::{Sample, Stopwatch},
};
use async_nats::jetstream::consumer::{Consumer, pull};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumerOptions, Delivery, DurableConsumer, Feed, UnitPublished, async_nats, dedupe::DedupeStore,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const RAW: &str = "raw";
pub(crate) const BRIDGE: &str = "bridge";

/// The load of a consumer: how many handlers at once, and how long each of them waits.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    /// The time that each of them waits; none ends at once.
    pub(crate) waits: Option<Duration>,
}

/// A consumer that stops when it has handled this many.
pub(crate) struct Counted {
    pub(crate) consumer: DurableConsumer,
    pub(crate) all_handled: CancellationToken,
    pub(crate) expected: u64,
}

impl Bench {
    pub(crate) async fn raw_consume(&self, count: usize, load: Load) -> Result<Sample, Failure> {
        let consumer = self.raw_consumer().await?;
        let begun = Stopwatch::start();
        if load.waits.is_some() {
            pull_wait_ack(&consumer, count, load).await?;
        } else {
            pull_parse_ack(&consumer, count).await?;
        }
        let sample = begun.stop(count);
        self.delete(RAW).await?;
        Ok(sample)
    }

    pub(crate) async fn bridge_consume(
        &self,
        count: usize,
        load: Load,
        store: Arc<dyn DedupeStore>,
    ) -> Result<Sample, Failure> {
        // A store that remembers the events of another part has them for another consumer.
        let name = format!("{BRIDGE}-{}", load.in_flight);
        let consumer = self.counted(&name, count, load, store).await?;
        let begun = Stopwatch::start();
        consumer.run().await?;
        let sample = begun.stop(count);
        self.delete(&name).await?;
        Ok(sample)
    }

    pub(crate) async fn raw_consumer(&self) -> Result<Consumer<pull::Config>, Failure> {
        let config = pull::Config {
            durable_name: Some(RAW.into()),
            max_ack_pending: 10_000,
            filter_subject: "strat.*.unit.published".into(),
            ..pull::Config::default()
        };
        Ok(self.context.get_stream(Feed::Strat.stream()).await?.create_consumer(config).await?)
    }

    pub(crate) async fn counted(
        &self,
        name: &str,
        count: usize,
        load: Load,
        store: Arc<dyn DedupeStore>,
    ) -> Result<Counted, Failure> {
        let (handled, expected) = (AtomicU64::new(0), u64::try_from(count)?);
        let all_handled = CancellationToken::new();
        let last = all_handled.clone();
        let consumer = self
            .bridge
            .consumer(name, store)
            .options(ConsumerOptions::default().with_max_in_flight(load.in_flight))
            .on(move |_: Delivery<UnitPublished>| {
                if handled.fetch_add(1, Ordering::Relaxed) + 1 == expected {
                    last.cancel();
                }
                async move {
                    if let Some(time) = load.waits {
                        tokio::time::sleep(time).await;
                    }
                    Ok(())
                }
            })
            .build()
            .await?;
        Ok(Counted { consumer, all_handled, expected })
    }

    pub(crate) async fn delete(&self, durable: &str) -> Result<(), Failure> {
        self.context.get_stream(Feed::Strat.stream()).await?.delete_consumer(durable).await?;
        Ok(())
    }
}

impl Counted {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let summary = self.consumer.run(self.all_handled.cancelled_owned()).await?;
        assert_eq!(summary.handled, self.expected, "{summary:?}");
        Ok(())
    }
}

/// Consumes by pulls of 1000, a plain typed parse, a set of the keys seen, and a single ack.
pub(crate) async fn pull_parse_ack(consumer: &Consumer<pull::Config>, count: usize) -> Result<(), Failure> {
    let mut messages = pulled(consumer).await?.take(count);
    let mut seen = HashSet::new();
    while let Some(message) = messages.next().await {
        let message = message?;
        let plain: Plain = serde_json::from_slice(&message.payload)?;
        if seen.insert(plain.idempotency_key.clone()) {
            std::hint::black_box(plain);
        }
        message.ack().await?;
    }
    Ok(())
}

pub(crate) async fn pulled(consumer: &Consumer<pull::Config>) -> Result<pull::Stream, Failure> {
    // The client may stall until a pull expires.
    let pulls = consumer.stream().max_messages_per_batch(1000).expires(Duration::from_secs(5));
    Ok(pulls.messages().await?)
}

/// The same with something to wait for between the parse and the ack, in so many tasks at once.
async fn pull_wait_ack(consumer: &Consumer<pull::Config>, count: usize, load: Load) -> Result<(), Failure> {
    let messages = pulled(consumer).await?.take(count).map_err(Failure::from);
    let handled = messages.map_ok(|message| async move {
        tokio::spawn(async move {
            let plain: Plain = serde_json::from_slice(&message.payload)?;
            std::hint::black_box(plain);
            tokio::time::sleep(load.waits.unwrap_or_default()).await;
            message.ack().await
        })
        .await?
    });
    handled.try_buffer_unordered(load.in_flight).try_collect().await
}

/// The part of an event that raw use would parse.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "parsed for its cost")]
pub(crate) struct Plain {
    event_id: Uuid,
    event_type: String,
    domain: String,
    timestamp: String,
    pub(crate) idempotency_key: String,
    source: String,
    payload: UnitPublished,
    meta: serde_json::Map<String, serde_json::Value>,
}
