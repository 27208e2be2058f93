//! Dedupe stores and outboxes on real databases: `cargo bench -p benches --bench stores -- [stores|relay]`.
//!
//! Prints the median over the rounds. The environment sets `ROUNDS` (5) and `COUNT` (20000: slots, or events of 500
//! units). Raw is what the database does in this very run: single `INSERT`s over eight connections, or `SET NX`.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

mod outboxes;
mod raw;
#[path = "../throughput/setting.rs"]
mod setting;
mod slots;

use setting::setting;
use sqlx::{
    PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use std::error::Error;
use stratt_event_bridge::testing::Postgres;

type Failure = Box<dyn Error + Send + Sync>;

/// The databases, and how much is measured.
struct Bench {
    postgres: PgPool,
    sqlite: SqlitePool,
    rounds: usize,
    count: usize,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(measure()).await?
}

async fn measure() -> Result<(), Failure> {
    let server = Postgres::start().await?;
    let folder = tempfile::tempdir()?;
    let file = SqliteConnectOptions::new().filename(folder.path().join("bench.db")).create_if_missing(true);
    let bench = Bench {
        postgres: PgPoolOptions::new().test_before_acquire(false).connect(server.url()).await?,
        sqlite: SqlitePool::connect_with(file.journal_mode(SqliteJournalMode::Wal)).await?,
        rounds: setting("ROUNDS", 5),
        count: setting("COUNT", 20_000),
    };
    println!("{} rounds of {}", bench.rounds, bench.count);
    let has = |part: &str| std::env::args().any(|arg| arg == part);
    if !has("relay") {
        slots::measure(&bench).await?;
    }
    if !has("stores") {
        outboxes::measure(&bench).await?;
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
