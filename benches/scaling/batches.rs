//! The cost by the number of events in a batch: one row in PostgreSQL for each event, in the transaction that settles
//! it.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    commit::commit,
    setting,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use stratt_event_bridge::{
    BatchOptions, ConsumerOptions, Delivery, Feed, UnitPublished,
    dedupe::{PostgresStore, SqlStoreOptions},
    testing::Postgres,
};
use tokio_util::sync::CancellationToken;

pub(crate) const TITLE: &str = "Batch sizes";

/// The default of what is in flight, and one that fills many batches at once.
const IN_FLIGHT: [(&str, usize); 2] = [("64 in flight", 64), ("1,024 in flight", 1024)];
/// No batch may exceed what is in flight.
const SIZES: [usize; 4] = [1, 4, 16, 64];

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let server = Postgres::start().await?;
    let pool = PgPoolOptions::new().test_before_acquire(false).connect(server.url()).await?;
    let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
    store.migrate().await?;
    sqlx::query("CREATE TABLE effects (key TEXT PRIMARY KEY)").execute(&pool).await?;
    let mut lines = Vec::new();
    for (name, in_flight) in IN_FLIGHT {
        let mut line = Line::new(name);
        for size in SIZES {
            let mut times = Vec::new();
            for _ in 0..setting("ROUNDS", 3) {
                let events = setting("EVENTS", 20_000);
                bench.fill(events, 1).await?;
                sqlx::query("TRUNCATE effects").execute(&pool).await?;
                times.push(consume(bench, &pool, &store, events, size, in_flight).await?);
            }
            line.add(size, times);
        }
        lines.push(line);
    }
    Ok(Chart {
        title: TITLE,
        growing: "events in a batch",
        unit: "µs for each effect, settled with it",
        lines,
    })
}

/// Returns the time for each event, in microseconds.
async fn consume(
    bench: &Bench,
    pool: &PgPool,
    store: &PostgresStore,
    events: usize,
    size: usize,
    in_flight: usize,
) -> Result<f64, Failure> {
    const DURABLE: &str = "batches";
    let (handled, expected) = (Arc::new(AtomicU64::new(0)), u64::try_from(events)?);
    let all_handled = CancellationToken::new();
    let (of_handler, settling, last) = (pool.clone(), store.clone(), all_handled.clone());
    let handle = move |batch: Vec<Delivery<UnitPublished>>| {
        let (pool, store, last) = (of_handler.clone(), settling.clone(), last.clone());
        let handled = Arc::clone(&handled);
        async move {
            commit(&batch, &pool, &store).await?;
            let count = u64::try_from(batch.len())?;
            if handled.fetch_add(count, Ordering::Relaxed) + count >= expected {
                last.cancel();
            }
            Ok(())
        }
    };
    let consumer = bench
        .bridge
        .consumer(DURABLE, Arc::new(store.clone()))
        .options(ConsumerOptions::default().with_max_in_flight(in_flight))
        .on_batch(BatchOptions::default().with_max_events(size), handle)
        .build()
        .await?;
    let begun = Instant::now();
    let summary = consumer.run(all_handled.cancelled_owned()).await?;
    let took = begun.elapsed();
    assert_eq!(summary.handled, expected);
    bench.context.get_stream(Feed::Strat.stream()).await?.delete_consumer(DURABLE).await?;
    Ok(took.as_secs_f64() * 1e6 / events as f64)
}
