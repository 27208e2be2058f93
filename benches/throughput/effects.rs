//! One row in PostgreSQL for each event, in the transaction that settles it: a transaction for each event, or one for a
//! batch.

use crate::{
    Bench, Failure,
    commit::commit,
    consume::Counted,
    measure::{Sample, Stopwatch},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use stratt_event_bridge::{
    BatchOptions, ConsumerOptions, Delivery, UnitPublished,
    dedupe::{PostgresStore, SqlStoreOptions},
    testing::Postgres,
};
use tokio_util::sync::CancellationToken;

/// A database with a store and a table of effects.
pub(crate) struct Effects {
    _server: Postgres,
    pool: PgPool,
    store: PostgresStore,
    runs: AtomicU64,
}

/// The number of events that one transaction has.
#[derive(Clone, Copy)]
pub(crate) enum Commits {
    One,
    Batch { max_events: usize, in_flight: usize },
}

impl Effects {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let server = Postgres::start().await?;
        let pool = PgPoolOptions::new().test_before_acquire(false).connect(server.url()).await?;
        let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await?;
        sqlx::query("CREATE TABLE effects (key TEXT PRIMARY KEY)").execute(&pool).await?;
        Ok(Self { _server: server, pool, store, runs: AtomicU64::new(0) })
    }

    pub(crate) async fn consume(
        &self,
        bench: &Bench,
        count: usize,
        commits: Commits,
    ) -> Result<Sample, Failure> {
        sqlx::query("TRUNCATE effects").execute(&self.pool).await?;
        // The store remembers the events of another run for another consumer.
        let name = format!("effects-{}", self.runs.fetch_add(1, Ordering::Relaxed));
        let (handled, expected) = (Arc::new(AtomicU64::new(0)), u64::try_from(count)?);
        let all_handled = CancellationToken::new();
        let (pool, store, last) = (self.pool.clone(), self.store.clone(), all_handled.clone());
        let handle = move |batch: Vec<Delivery<UnitPublished>>| {
            let (pool, store, last, handled) =
                (pool.clone(), store.clone(), last.clone(), Arc::clone(&handled));
            async move {
                commit(&batch, &pool, &store).await?;
                let count = u64::try_from(batch.len())?;
                if handled.fetch_add(count, Ordering::Relaxed) + count >= expected {
                    last.cancel();
                }
                Ok(())
            }
        };
        let builder = bench.bridge.consumer(&name, Arc::new(self.store.clone()));
        let options = ConsumerOptions::default();
        let builder = match commits {
            Commits::One => builder.options(options).on(move |delivery| handle(vec![delivery])),
            Commits::Batch { max_events, in_flight } => builder
                .options(options.with_max_in_flight(in_flight))
                .on_batch(BatchOptions::default().with_max_events(max_events), handle),
        };
        let counted = Counted { consumer: builder.build().await?, all_handled, expected };
        let begun = Stopwatch::start();
        counted.run().await?;
        let sample = begun.stop(count);
        bench.delete(&name).await?;
        Ok(sample)
    }
}
