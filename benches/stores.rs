//! Dedupe stores and outboxes on real databases: `cargo bench -p benches --bench stores`.
//!
//! Prints the median over the rounds. `ROUNDS` (5) and `COUNT` (20000: slots, or events of 500 units) are taken from the
//! environment; `-- relay` measures the outboxes alone. Raw is what the database does in this very run: one `INSERT` for
//! each key, over eight connections.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

#[path = "throughput/setting.rs"]
mod setting;

use futures::{StreamExt, TryStreamExt, stream};
use setting::setting;
use sqlx::{
    PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    Envelope, EventBridge, UnitPublished,
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions, SqliteStore},
    outbox::{OutboxOptions, OutboxRelay, PostgresOutbox, SqliteOutbox},
    testing::{NatsServer, Postgres},
    topology::Topology,
};
use tempfile::TempDir;
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

const LEASE: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(measure()).await?
}

async fn measure() -> Result<(), Failure> {
    let (rounds, count) = (setting("ROUNDS", 5), setting("COUNT", 20_000));
    let server = Postgres::start().await?;
    let pool = PgPoolOptions::new().test_before_acquire(false).connect(server.url()).await?;
    let folder = tempfile::tempdir()?;
    let file = SqliteConnectOptions::new().filename(folder.path().join("bench.db")).create_if_missing(true);
    let file = SqlitePool::connect_with(file.journal_mode(SqliteJournalMode::Wal)).await?;
    println!("{rounds} rounds of {count}");
    if !std::env::args().any(|arg| arg == "relay") {
        stores(&pool, &file, rounds, count).await?;
    }
    outboxes(&pool, &file, rounds, count).await
}

async fn stores(pool: &PgPool, file: &SqlitePool, rounds: usize, count: usize) -> Result<(), Failure> {
    let postgres = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
    postgres.migrate().await?;
    let sqlite = SqliteStore::new(file.clone(), SqlStoreOptions::default());
    sqlite.migrate().await?;
    sqlx::query("CREATE TABLE raw (key text PRIMARY KEY)").execute(pool).await?;
    let stores: [(&str, Arc<dyn DedupeStore>); 2] =
        [("PostgreSQL", Arc::new(postgres)), ("SQLite, WAL", Arc::new(sqlite))];
    let mut raw = Vec::new();
    for _ in 0..rounds {
        raw.push(insert(pool, count / 4).await?);
    }
    println!("{:<12} raw INSERT, 8 connections, rows/s   {:>9.0}", "PostgreSQL", median(raw));
    for (name, store) in &stores {
        for in_flight in [1, 64, 256, 1024] {
            let count = if in_flight == 1 { count / 20 } else { count };
            let mut rates = Vec::new();
            for _ in 0..rounds {
                rates.push(claim_and_settle(store, count, in_flight).await?);
            }
            println!("{name:<12} claim + settle, {in_flight:>4} in flight, slots/s {:>9.0}", median(rates));
        }
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM stratt_dedupe").fetch_one(pool).await?;
    let size = "SELECT pg_total_relation_size('stratt_dedupe')";
    let bytes: i64 = sqlx::query_scalar(size).fetch_one(pool).await?;
    println!("{:<12} bytes for a slot, indexes included      {:>9}", "PostgreSQL", bytes / rows);
    Ok(())
}

/// One row for each statement.
async fn insert(pool: &PgPool, count: usize) -> Result<f64, Failure> {
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|_| async {
            let insert = sqlx::query("INSERT INTO raw VALUES ($1)").bind(Uuid::new_v4().to_string());
            insert.execute(pool).await.map(|_| ())
        })
        .buffer_unordered(8)
        .try_collect::<()>()
        .await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

async fn outboxes(pool: &PgPool, file: &SqlitePool, rounds: usize, count: usize) -> Result<(), Failure> {
    let postgres = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    postgres.migrate().await?;
    let sqlite = SqliteOutbox::new(file.clone(), OutboxOptions::default());
    sqlite.migrate().await?;
    let brokers = [
        Broker::start("", "2m", false).await?,
        Broker::start(", batches allowed", "2m", true).await?,
        Broker::start(", each write synced", "always", false).await?,
        Broker::start(", each write synced, batches allowed", "always", true).await?,
    ];
    for Broker { name, bridge, .. } in &brokers {
        let (mut on_postgres, mut on_sqlite) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            // The same for each: reading gets slower with what is kept.
            sqlx::query("DELETE FROM stratt_outbox").execute(pool).await?;
            sqlx::query("DELETE FROM stratt_outbox").execute(file).await?;
            let mut tx = pool.begin().await?;
            for envelope in envelopes(bridge, count)? {
                postgres.enqueue(&mut tx, &envelope).await?;
            }
            tx.commit().await?;
            let pending = || async { Ok(postgres.status().await?.pending) };
            on_postgres.push(relay(postgres.relay(bridge), count, pending).await?);
            let mut tx = file.begin().await?;
            for envelope in envelopes(bridge, count)? {
                sqlite.enqueue(&mut tx, &envelope).await?;
            }
            tx.commit().await?;
            let pending = || async { Ok(sqlite.status().await?.pending) };
            on_sqlite.push(relay(sqlite.relay(bridge), count, pending).await?);
        }
        for (database, rates) in [("PostgreSQL", on_postgres), ("SQLite, WAL", on_sqlite)] {
            println!("{database:<12} relay of a backlog, events/s           {:>9.0}{name}", median(rates));
        }
    }
    Ok(())
}

/// Where a relay publishes to.
struct Broker {
    name: &'static str,
    bridge: EventBridge,
    _server: NatsServer,
    _folder: TempDir,
}

impl Broker {
    async fn start(name: &'static str, syncs: &str, takes_batches: bool) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let store = folder.path().display();
        let config = format!("jetstream {{ store_dir: \"{store}\", sync_interval: {syncs} }}");
        let server = NatsServer::builder().config(config).start().await?;
        let bridge = EventBridge::new(server.connect().await?, "orchestrator-http:publisher:1.4.0".parse()?);
        bridge.provision(&Topology::default().with_batches(takes_batches)).await?;
        Ok(Self { name, bridge, _server: server, _folder: folder })
    }
}

fn envelopes(bridge: &EventBridge, count: usize) -> Result<Vec<Envelope<UnitPublished>>, Failure> {
    let envelope = |number: usize| {
        let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse()?;
        let uri = format!("strat://dev/rule/no-secrets-{:03}@1.0.0", number % 500).parse()?;
        let event = UnitPublished::new(uri, fingerprint).with_actor("user:alice@example.com");
        Ok(Envelope::builder(event, bridge.source().clone()).build()?)
    };
    (0..count).map(envelope).collect()
}

/// Until all is published and marked.
async fn relay<F, Fut>(relay: OutboxRelay, count: usize, pending: F) -> Result<f64, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<u64, Failure>>,
{
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let begun = Instant::now();
    let running = tokio::spawn(relay.run(async move {
        let _stopped = stopped.await;
    }));
    while pending().await? > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    drop(stop);
    let summary = running.await??;
    assert_eq!(summary.published, u64::try_from(count)?, "{summary:?}");
    Ok(rate)
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
