//! The bridge against raw async-nats, in turns within one run, on real servers:
//! `cargo bench --bench throughput -- [PART] [--json]`.
//!
//! PART selects the parts whose names contain it. `ROUNDS` (7) and `EVENTS` (20000) are taken from the environment;
//! `ROUNDS=1 EVENTS=500` is a smoke run. Compare ratios, which hold when the machine's speed drifts, and CPU per event.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

mod consume;
mod measure;
mod publish;
mod table;

use async_nats::jetstream::{self, Context};
use std::{
    error::Error,
    sync::atomic::{AtomicU64, Ordering},
};
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, Feed, Source, UnitPublished, async_nats, testing::NatsServer,
    topology::Topology,
};
use table::Table;
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

const IN_FLIGHT: usize = 1024;
const BATCH: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(run()).await?
}

async fn run() -> Result<(), Failure> {
    let (rounds, events) = (setting("ROUNDS", 7), setting("EVENTS", 20_000));
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with("--")).cloned();
    let has = |part: &str| filter.as_ref().is_none_or(|filter| part.contains(filter.as_str()));
    let server = NatsServer::start().await?;
    let bench = Bench::new(&server).await?;
    let synced = if has("batch") { Some(Synced::start().await?) } else { None };
    let mut table = Table::default();
    for _ in 0..rounds {
        if has("publish") {
            let count = events / 10;
            table.add("publish", bench.raw_single(count).await?, bench.bridge_single(count).await?);
        }
        for in_flight in [256, 1024, 4096] {
            let part = format!("publish_all {in_flight}");
            if has(&part) {
                let raw = bench.raw_pipelined(events, in_flight).await?;
                table.add(&part, raw, bench.bridge_pipelined(events, in_flight).await?);
            }
        }
        if let Some(synced) = &synced {
            let count = (events / 10).max(BATCH);
            let singly = synced.bench.bridge_pipelined(count, IN_FLIGHT).await?;
            table.add("batch, synced", singly, synced.bench.batches(count).await?);
        }
        if has("consume") {
            bench.empty().await?;
            bench.bridge_pipelined(events, IN_FLIGHT).await?;
            table.add("consume", bench.raw_consume(events).await?, bench.bridge_consume(events).await?);
        }
    }
    if arguments.iter().any(|argument| argument == "--json") {
        println!("{}", table.json());
    } else {
        let bytes = bench.envelope()?.encode()?.len();
        println!("{rounds} rounds, {events} events of {bytes} bytes; us of client CPU for each event");
        print!("{table}");
    }
    Ok(())
}

/// A server that syncs every write, where singly published events stand in the place of raw use.
struct Synced {
    bench: Bench,
    _server: NatsServer,
    _folder: tempfile::TempDir,
}

impl Synced {
    async fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let store = folder.path().display();
        let config = format!("jetstream {{ store_dir: \"{store}\", sync_interval: always }}");
        let server = NatsServer::builder().config(config).start().await?;
        Ok(Self { bench: Bench::new(&server).await?, _server: server, _folder: folder })
    }
}

struct Bench {
    client: async_nats::Client,
    bridge: EventBridge,
    context: Context,
    source: Source,
    envelopes: AtomicU64,
}

impl Bench {
    async fn new(server: &NatsServer) -> Result<Self, Failure> {
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

    fn bridge_with(&self, in_flight: usize) -> EventBridge {
        let options = BridgeOptions::default().with_max_in_flight(in_flight);
        EventBridge::with_options(self.client.clone(), self.source.clone(), options)
    }

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

    async fn empty(&self) -> Result<(), Failure> {
        self.context.get_stream(Feed::Strat.stream()).await?.purge().await?;
        Ok(())
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
