//! The bridge against raw async-nats, in turns within one run, on a real server: `cargo bench --bench throughput`.
//!
//! Prints the median over the rounds, and the median of the ratios pair by pair, which hold when the machine's speed
//! drifts. `ROUNDS` (7) and `EVENTS` (20000) are taken from the environment.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

use async_nats::jetstream::{self, Context, consumer::pull, message::PublishMessage};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use stratt_event_bridge::{
    BridgeOptions, ConsumerOptions, Delivery, Envelope, EventBridge, Feed, Source, UnitPublished, async_nats,
    dedupe::MemoryStore, testing::NatsServer, topology::Topology,
};
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

const IN_FLIGHT: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(measure()).await?
}

async fn measure() -> Result<(), Failure> {
    let (rounds, events) = (setting("ROUNDS", 7), setting("EVENTS", 20_000));
    let server = NatsServer::start().await?;
    let client = server.connect().await?;
    let options = BridgeOptions::default().with_max_in_flight(IN_FLIGHT);
    let source: Source = "orchestrator-http:publisher:1.4.0".parse()?;
    let bench = Bench {
        bridge: EventBridge::with_options(client.clone(), source.clone(), options),
        context: jetstream::new(client),
        source,
        envelopes: AtomicU64::new(0),
    };
    bench.bridge.provision(&Topology::default()).await?;
    println!(
        "{rounds} rounds, {events} events of {} bytes, {IN_FLIGHT} in flight",
        bench.envelope()?.encode()?.len()
    );
    let mut single = Pairs::new("publish one by one, p50 us");
    let mut pipelined = Pairs::new("publish_all, events/s");
    let mut consumed = Pairs::new("consume in memory, events/s");
    for _ in 0..rounds {
        single.add(bench.raw_single(events / 10).await?, bench.bridge_single(events / 10).await?);
        pipelined.add(bench.raw_pipelined(events).await?, bench.bridge_pipelined(events).await?);
        bench.empty().await?;
        bench.bridge_pipelined(events).await?;
        consumed.add(bench.raw_consume(events).await?, bench.bridge_consume(events).await?);
    }
    for pairs in [single, pipelined, consumed] {
        pairs.print();
    }
    Ok(())
}

struct Bench {
    bridge: EventBridge,
    context: Context,
    source: Source,
    envelopes: AtomicU64,
}

impl Bench {
    /// One of a thousand units, since deliveries of one unit run one at a time.
    fn envelope(&self) -> Result<Envelope<UnitPublished>, Failure> {
        let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse()?;
        let unit = self.envelopes.fetch_add(1, Ordering::Relaxed) % 1000;
        let event =
            UnitPublished::new(format!("strat://dev/rule/no-secrets-{unit:03}@1.0.0").parse()?, fingerprint);
        Ok(Envelope::builder(event.with_actor("user:alice@example.com"), self.source.clone())
            .meta("correlationId", Uuid::new_v4().to_string())
            .build()?)
    }

    fn envelopes(&self, count: usize) -> Result<Vec<Envelope<UnitPublished>>, Failure> {
        (0..count).map(|_| self.envelope()).collect()
    }

    /// What raw use has in hand: bytes and their message id.
    fn messages(&self, count: usize) -> Result<Vec<(String, Bytes)>, Failure> {
        let envelopes = self.envelopes(count)?.into_iter();
        envelopes.map(|e| Ok((e.idempotency_key().to_string(), e.encode()?.into()))).collect()
    }

    async fn raw_single(&self, count: usize) -> Result<f64, Failure> {
        let mut times = Vec::with_capacity(count);
        for (id, payload) in self.messages(count)? {
            let begun = Instant::now();
            let message = PublishMessage::build().payload(payload).message_id(id);
            self.context.send_publish("strat.dev.unit.published", message).await?.await?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(median(times))
    }

    async fn bridge_single(&self, count: usize) -> Result<f64, Failure> {
        let mut times = Vec::with_capacity(count);
        for envelope in self.envelopes(count)? {
            let begun = Instant::now();
            self.bridge.publish_envelope(&envelope).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(median(times))
    }

    /// A ring of ack futures, the best raw way known.
    async fn raw_pipelined(&self, count: usize) -> Result<f64, Failure> {
        let messages = self.messages(count)?;
        let begun = Instant::now();
        let mut ring = VecDeque::with_capacity(IN_FLIGHT);
        for (id, payload) in messages {
            if ring.len() == IN_FLIGHT
                && let Some(oldest) = ring.pop_front()
            {
                std::future::IntoFuture::into_future(oldest).await?;
            }
            let message = PublishMessage::build().payload(payload).message_id(id);
            ring.push_back(self.context.send_publish("strat.dev.unit.published", message).await?);
        }
        for ack in ring {
            ack.await?;
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    async fn bridge_pipelined(&self, count: usize) -> Result<f64, Failure> {
        let envelopes = self.envelopes(count)?;
        let begun = Instant::now();
        let mut receipts = std::pin::pin!(self.bridge.publish_all(stream::iter(envelopes)));
        while let Some(receipt) = receipts.next().await {
            receipt?;
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    /// Pulls of 1000, a plain typed parse, a single ack.
    async fn raw_consume(&self, count: usize) -> Result<f64, Failure> {
        let config = pull::Config {
            durable_name: Some("raw".into()),
            max_ack_pending: 10_000,
            filter_subject: "strat.*.unit.published".into(),
            ..pull::Config::default()
        };
        let stream = self.context.get_stream(Feed::Strat.stream()).await?;
        let consumer = stream.create_consumer(config).await?;
        let begun = Instant::now();
        let mut messages = consumer.stream().max_messages_per_batch(1000).messages().await?.take(count);
        while let Some(message) = messages.next().await {
            let message = message?;
            let plain: Plain = serde_json::from_slice(&message.payload)?;
            std::hint::black_box(plain);
            message.ack().await?;
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        stream.delete_consumer("raw").await?;
        Ok(rate)
    }

    async fn bridge_consume(&self, count: usize) -> Result<f64, Failure> {
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
        let begun = Instant::now();
        let shutdown = async {
            let _done = all_done.await;
        };
        let summary = consumer.run(shutdown).await?;
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        assert_eq!(summary.handled, expected, "{summary:?}");
        let stream = self.context.get_stream(Feed::Strat.stream()).await?;
        stream.delete_consumer("bridge").await?;
        Ok(rate)
    }

    async fn empty(&self) -> Result<(), Failure> {
        self.context.get_stream(Feed::Strat.stream()).await?.purge().await?;
        Ok(())
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

struct Pairs {
    name: &'static str,
    pairs: Vec<(f64, f64)>,
}

impl Pairs {
    fn new(name: &'static str) -> Self {
        Self { name, pairs: Vec::new() }
    }

    fn add(&mut self, raw: f64, bridge: f64) {
        self.pairs.push((raw, bridge));
    }

    fn print(self) {
        let of = |value: fn(&(f64, f64)) -> f64| median(self.pairs.iter().map(value).collect());
        let (raw, bridge, ratio) = (of(|pair| pair.0), of(|pair| pair.1), of(|pair| pair.1 / pair.0));
        println!("{:<28} raw {raw:>9.0}  bridge {bridge:>9.0}  bridge/raw {ratio:.2}", self.name);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
