//! The Redis store against raw `SET NX`, in turns within one run, on a real server:
//! `cargo bench -p benches --bench redis_store`.
//!
//! Prints the medians over the rounds. `ROUNDS` (5) and `SLOTS` (20000) are taken from the environment.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

#[path = "throughput/setting.rs"]
mod setting;

use redis::aio::ConnectionManager;
use setting::setting;
use sha2::{Digest, Sha256};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    dedupe::{Claim, DedupeStore, RedisStore, RedisStoreOptions, Slot},
    testing::Redis,
};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const LEASE: Duration = Duration::from_secs(40);
const IN_FLIGHT: [usize; 4] = [1, 64, 256, 1024];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(measure()).await?
}

async fn measure() -> Result<(), Failure> {
    let (rounds, slots) = (setting("ROUNDS", 5), setting("SLOTS", 20_000));
    let server = Redis::start().await?;
    let connection = redis::Client::open(server.url())?.get_connection_manager().await?;
    let store = RedisStore::open(connection.clone(), RedisStoreOptions::default()).await?;
    let bench = Arc::new(Bench { connection, store, numbers: AtomicU64::new(0) });
    println!("{rounds} rounds of {slots} slots, claimed and settled, with an append-only file");
    for in_flight in IN_FLIGHT {
        let slots = if in_flight == 1 { slots / 10 } else { slots };
        let (mut raw, mut batched, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            raw.push(rate(&bench, slots, in_flight, Bench::set).await?);
            batched.push(bench.set_in_batches(slots, in_flight).await?);
            stored.push(rate(&bench, slots, in_flight, Bench::claim_and_settle).await?);
            redis::cmd("FLUSHALL").query_async::<()>(&mut bench.connection.clone()).await?;
        }
        println!(
            "{in_flight:>5} in flight: store {:>7.0} slots/s; raw SET NX {:>7.0}/s, in pipelines {:>7.0}/s",
            median(stored),
            median(raw),
            median(batched)
        );
    }
    Ok(())
}

struct Bench {
    connection: ConnectionManager,
    store: RedisStore,
    numbers: AtomicU64,
}

impl Bench {
    fn slot(&self) -> Result<Slot, Failure> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let key = hex::encode(Sha256::digest(number.to_le_bytes()));
        Ok(Slot::new("choco-unit-deprecated".parse()?, key.parse()?))
    }

    async fn claim_and_settle(self: Arc<Self>) -> Result<(), Failure> {
        let slot = self.slot()?;
        let Claim::Acquired { fence, .. } = self.store.claim(&slot, LEASE).await? else {
            return Err("a new slot was not granted".into());
        };
        Ok(self.store.settle(&slot, fence).await?)
    }

    fn set_command(&self) -> Result<redis::Cmd, Failure> {
        let key = format!("raw:{}", self.slot()?.key());
        let mut command = redis::cmd("SET");
        command.arg(key).arg("1 held").arg("NX").arg("PX").arg(2_592_000_000_u64);
        Ok(command)
    }

    async fn set(self: Arc<Self>) -> Result<(), Failure> {
        Ok(self.set_command()?.query_async(&mut self.connection.clone()).await?)
    }

    async fn set_in_batches(&self, count: usize, size: usize) -> Result<f64, Failure> {
        let begun = Instant::now();
        for _ in 0..count / size {
            let mut pipeline = redis::pipe();
            for _ in 0..size {
                pipeline.add_command(self.set_command()?);
            }
            pipeline.query_async::<Vec<redis::Value>>(&mut self.connection.clone()).await?;
        }
        Ok((count / size * size) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Repeats `work` by as many tasks as are to be in flight.
async fn rate<W>(
    bench: &Arc<Bench>,
    count: usize,
    tasks: usize,
    work: fn(Arc<Bench>) -> W,
) -> Result<f64, Failure>
where
    W: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let bench = Arc::clone(bench);
        running.spawn(async move {
            for _ in 0..count / tasks {
                work(Arc::clone(&bench)).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((count / tasks * tasks) as f64 / begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
