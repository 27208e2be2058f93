//! The stores in a database on real databases: `cargo bench --bench stores`.
//!
//! Prints the median over the rounds. `ROUNDS` (5), `SLOTS` (20000) and `IN_FLIGHT` (64,256) are taken from the
//! environment.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{
    PgPool, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions, SqliteStore},
    testing::Postgres,
};
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

const LEASE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(measure()).await?
}

async fn measure() -> Result<(), Failure> {
    let (rounds, slots) = (setting("ROUNDS", 5), setting("SLOTS", 20_000));
    let server = Postgres::start().await?;
    let postgres = PostgresStore::new(PgPool::connect(server.url()).await?, SqlStoreOptions::default());
    postgres.migrate().await?;
    let folder = tempfile::tempdir()?;
    let file = SqliteConnectOptions::new().filename(folder.path().join("bench.db")).create_if_missing(true);
    let file = file.journal_mode(SqliteJournalMode::Wal);
    let sqlite = SqliteStore::new(SqlitePool::connect_with(file).await?, SqlStoreOptions::default());
    sqlite.migrate().await?;
    let stores: [(&str, Arc<dyn DedupeStore>); 2] =
        [("PostgreSQL", Arc::new(postgres)), ("SQLite, WAL", Arc::new(sqlite))];
    println!("{rounds} rounds, {slots} slots; claim + settle, slots/s");
    for in_flight in [1, 64, 256] {
        for (name, store) in &stores {
            let count = if in_flight == 1 { slots / 20 } else { slots };
            let mut rates = Vec::new();
            for _ in 0..rounds {
                rates.push(claim_and_settle(store, count, in_flight).await?);
            }
            println!("{name:<12} {in_flight:>4} in flight {:>9.0}", median(rates));
        }
    }
    Ok(())
}

/// Each on a task of its own, as a consumer does it.
async fn claim_and_settle(
    store: &Arc<dyn DedupeStore>,
    count: usize,
    in_flight: usize,
) -> Result<f64, Failure> {
    let slots: Vec<_> = (0..count)
        .map(|_| {
            let key = format!("{0}{0}", Uuid::new_v4().simple());
            Ok(Slot::new("choco-unit-deprecated".parse()?, key.parse()?))
        })
        .collect::<Result<_, Failure>>()?;
    let begun = Instant::now();
    stream::iter(slots)
        .map(|slot| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let Claim::Acquired { fence, .. } = store.claim(&slot, LEASE).await? else {
                    return Err("a new slot was not granted".into());
                };
                store.settle(&slot, fence).await.map_err(Failure::from)
            })
        })
        .buffer_unordered(in_flight)
        .map(|joined| joined.map_err(Failure::from).and_then(|result| result))
        .try_collect::<()>()
        .await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
