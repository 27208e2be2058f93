//! Consuming: pull, typed parse, acknowledgement; on our side with dedupe in memory.

use crate::{
    Bench, Failure, IN_FLIGHT,
    measure::{Sample, Stopwatch},
};
use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use serde::Deserialize;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use stratt_event_bridge::{ConsumerOptions, Delivery, Feed, UnitPublished, async_nats, dedupe::MemoryStore};
use uuid::Uuid;

impl Bench {
    /// Pulls of 1000, a plain typed parse, a single ack.
    pub(crate) async fn raw_consume(&self, count: usize) -> Result<Sample, Failure> {
        let config = pull::Config {
            durable_name: Some("raw".into()),
            max_ack_pending: 10_000,
            filter_subject: "strat.*.unit.published".into(),
            ..pull::Config::default()
        };
        let stream = self.context.get_stream(Feed::Strat.stream()).await?;
        let consumer = stream.create_consumer(config).await?;
        let begun = Stopwatch::start();
        let mut messages = consumer.stream().max_messages_per_batch(1000).messages().await?.take(count);
        while let Some(message) = messages.next().await {
            let message = message?;
            let plain: Plain = serde_json::from_slice(&message.payload)?;
            std::hint::black_box(plain);
            message.ack().await?;
        }
        let sample = begun.stop(count);
        stream.delete_consumer("raw").await?;
        Ok(sample)
    }

    pub(crate) async fn bridge_consume(&self, count: usize) -> Result<Sample, Failure> {
        let handled = Arc::new(AtomicU64::new(0));
        let (done, all_done) = tokio::sync::oneshot::channel::<()>();
        let done = Arc::new(std::sync::Mutex::new(Some(done)));
        let expected = u64::try_from(count)?;
        let consumer = self
            .bridge
            .consumer("bridge", Arc::new(MemoryStore::new()))
            .options(ConsumerOptions::default().with_max_in_flight(IN_FLIGHT))
            .on(move |_: Delivery<UnitPublished>| {
                if handled.fetch_add(1, Ordering::Relaxed) + 1 == expected
                    && let Some(done) = done.lock().ok().and_then(|mut done| done.take())
                {
                    let _nobody_waits = done.send(());
                }
                std::future::ready(Ok(()))
            })
            .build()
            .await?;
        let begun = Stopwatch::start();
        let shutdown = async {
            let _done = all_done.await;
        };
        let summary = consumer.run(shutdown).await?;
        let sample = begun.stop(count);
        assert_eq!(summary.handled, expected, "{summary:?}");
        let stream = self.context.get_stream(Feed::Strat.stream()).await?;
        stream.delete_consumer("bridge").await?;
        Ok(sample)
    }
}

/// What raw use would parse.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "parsed for its cost")]
struct Plain {
    event_id: Uuid,
    event_type: String,
    domain: String,
    timestamp: String,
    idempotency_key: String,
    source: String,
    payload: UnitPublished,
    meta: serde_json::Map<String, serde_json::Value>,
}
