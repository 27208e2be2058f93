//! Claiming and settling in each store.

use crate::{Bench, Failure, median, raw};
use redis::aio::ConnectionManager;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    dedupe::{
        Claim, DedupeStore, PostgresStore, RedisStore, RedisStoreOptions, Slot, SqlStoreOptions, SqliteStore,
    },
    testing::Redis,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const LEASE: Duration = Duration::from_mins(1);
const IN_FLIGHT: [usize; 4] = [1, 64, 256, 1024];

pub(crate) async fn measure(bench: &Bench) -> Result<(), Failure> {
    let server = Redis::start().await?;
    let redis = redis::Client::open(server.url())?.get_connection_manager().await?;
    raw_rates(bench, &redis).await?;
    let postgres = PostgresStore::new(bench.postgres.clone(), SqlStoreOptions::default());
    postgres.migrate().await?;
    let sqlite = SqliteStore::new(bench.sqlite.clone(), SqlStoreOptions::default());
    sqlite.migrate().await?;
    let on_redis = RedisStore::open(redis, RedisStoreOptions::default()).await?;
    let stores: [(&str, Arc<dyn DedupeStore>); 3] = [
        ("PostgreSQL", Arc::new(postgres)),
        ("SQLite, WAL", Arc::new(sqlite)),
        ("Redis, AOF", Arc::new(on_redis)),
    ];
    for (name, store) in &stores {
        for in_flight in IN_FLIGHT {
            let count = if in_flight == 1 { bench.count / 20 } else { bench.count };
            let mut rates = Vec::new();
            for _ in 0..bench.rounds {
                rates.push(claim_and_settle(store, count, in_flight).await?);
            }
            println!("{name:<12} claim + settle, {in_flight:>4} in flight, slots/s {:>9.0}", median(rates));
        }
    }
    size_in_postgres(bench).await
}

async fn raw_rates(bench: &Bench, redis: &ConnectionManager) -> Result<(), Failure> {
    sqlx::query("CREATE TABLE raw (key text PRIMARY KEY)").execute(&bench.postgres).await?;
    let mut inserted = Vec::new();
    for _ in 0..bench.rounds {
        inserted.push(raw::insert(&bench.postgres, bench.count / 4).await?);
    }
    println!("{:<12} raw INSERT, 8 connections, rows/s   {:>9.0}", "PostgreSQL", median(inserted));
    for in_flight in IN_FLIGHT {
        let count = if in_flight == 1 { bench.count / 20 } else { bench.count };
        let (mut single, mut in_pipelines) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            single.push(raw::set(redis, count, in_flight).await?);
            in_pipelines.push(raw::set_in_pipelines(redis, count, in_flight).await?);
            redis::cmd("FLUSHALL").query_async::<()>(&mut redis.clone()).await?;
        }
        println!(
            "{:<12} raw SET NX, {in_flight:>8} in flight, keys/s  {:>9.0}, in pipelines {:>9.0}",
            "Redis, AOF",
            median(single),
            median(in_pipelines)
        );
    }
    Ok(())
}

async fn size_in_postgres(bench: &Bench) -> Result<(), Failure> {
    let rows = sqlx::query_scalar("SELECT count(*) FROM stratt_dedupe").fetch_one(&bench.postgres);
    let rows: i64 = rows.await?;
    let size = "SELECT pg_total_relation_size('stratt_dedupe')";
    let bytes: i64 = sqlx::query_scalar(size).fetch_one(&bench.postgres).await?;
    println!("{:<12} bytes for a slot, indexes included      {:>9}", "PostgreSQL", bytes / rows);
    Ok(())
}

/// Claims and settles new slots by as many tasks as are to be in flight, and returns the slots per second.
async fn claim_and_settle(store: &Arc<dyn DedupeStore>, count: usize, tasks: usize) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let store = Arc::clone(store);
        running.spawn(async move {
            for _ in 0..count / tasks {
                let key = format!("{0}{0}", Uuid::new_v4().simple());
                let slot = Slot::new("choco-unit-deprecated".parse()?, key.parse()?);
                let Claim::Acquired { fence, .. } = store.claim(&slot, LEASE).await? else {
                    return Err("a new slot was not granted".into());
                };
                store.settle(&slot, fence).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((count / tasks * tasks) as f64 / begun.elapsed().as_secs_f64())
}
