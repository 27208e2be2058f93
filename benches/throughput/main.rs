//! The bridge against raw async-nats, in turns within one run, on real servers:
//! `cargo bench -p benches --bench throughput -- [PART] [--json]`.
//!
//! PART selects the parts whose names contain it; only what they need is started, and what is missing is an error.
//! `ROUNDS` (7) and `EVENTS` (20000) are taken from the environment; `ROUNDS=1 EVENTS=500` is a smoke run. Compare
//! ratios, which hold when the machine's speed drifts, and CPU per event.
//!
//! What stands on the raw side:
//! - `publish`: one acknowledged publish after the other; `publish_all`: a ring of ack futures
//! - `batch, synced`: our own `publish_all`
//! - `consume`: pulls of 1,000, a plain typed parse, a single ack; its dedupe is a set of the keys in memory, whatever
//!   the store of the bridge, but for `kv` and `redis`
//! - `consume memory, 1 ms`: the same in a task for each message that waits for 1 ms before the ack, as many at once
//! - `consume kv`: the same with the two writes that the store makes for each event, as many at once
//! - `consume redis`: the same with one `SET` for each event, as many at once
//! - `effects`: a transaction for each event, with the bridge as well, beside one for a batch of 8 to 256
//! - `groups`, `redrive a group`: reading dead letters, a request each
//! - `together`: the ring and the pulls at once
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

mod bench;
mod commit;
mod consume;
mod cpu_time;
mod dead_letters;
mod effects;
mod kv;
mod measure;
mod publish;
mod redis;
mod setting;
mod stores;
mod synced;
mod table;
mod together;

use bench::Bench;
use effects::{Commits, Effects};
use setting::setting;
use std::error::Error;
use stores::{Raw, Stores};
use stratt_event_bridge::testing::NatsServer;
use synced::Synced;
use table::Table;

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
    let synced = if has("batch, synced") { Some(Synced::start().await?) } else { None };
    let stores = Stores::start(&bench.client, has).await?;
    let effects = if has("effects") { Some(Effects::start().await?) } else { None };
    let mut table = Table::default();
    for _ in 0..rounds {
        publishing(&bench, events, has, &mut table).await?;
        if let Some(synced) = &synced {
            let count = (events / 10).max(BATCH);
            let singly = synced.bench.bridge_pipelined(count, IN_FLIGHT).await?;
            table.add("batch, synced", singly, synced.bench.batches(count).await?);
        }
        consuming(&bench, events, &stores, &mut table).await?;
        if let Some(effects) = &effects {
            bench.empty().await?;
            bench.bridge_pipelined(events, IN_FLIGHT).await?;
            let singly = effects.consume(&bench, events, Commits::One).await?;
            for (max_events, in_flight) in [(8, 64), (32, 64), (128, 1024), (256, 1024)] {
                let commits = Commits::Batch { max_events, in_flight };
                let sample = effects.consume(&bench, events, commits).await?;
                table.add(&format!("effects {max_events}"), singly, sample);
            }
        }
        if has("groups") {
            bench.empty().await?;
            bench.store_letters(bench.envelopes(events)?).await?;
            let raw = bench.raw_read_letters(events / 10).await?;
            table.add("groups", raw, bench.bridge_groups(events).await?);
            table.add("redrive a group", raw, bench.bridge_redrive().await?);
        }
        if has("together") {
            let raw = bench.raw_together(events).await?;
            table.add("together", raw, bench.bridge_together(events).await?);
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

async fn publishing(
    bench: &Bench,
    events: usize,
    has: impl Fn(&str) -> bool,
    table: &mut Table,
) -> Result<(), Failure> {
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
    Ok(())
}

/// All parts of a round consume the same events, each as a consumer of its own.
async fn consuming(bench: &Bench, events: usize, stores: &Stores, table: &mut Table) -> Result<(), Failure> {
    if stores.parts().is_empty() {
        return Ok(());
    }
    bench.empty().await?;
    bench.bridge_pipelined(events, IN_FLIGHT).await?;
    for part in stores.parts() {
        let raw = match part.raw() {
            Raw::Kv => bench.raw_kv_consume(events, part.load.in_flight).await?,
            Raw::Redis(url) => bench.raw_redis_consume(url, events, part.load.in_flight).await?,
            Raw::Memory => bench.raw_consume(events, part.load).await?,
        };
        table.add(&part.name, raw, bench.bridge_consume(events, part.load, part.store()).await?);
    }
    Ok(())
}
