//! A database with a store and a table of effects.

use sqlx::{Executor, PgPool, SqlitePool};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, HandlerError, UnitPublished,
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions, SqliteStore},
};
use support::{database, sqlite_pool};

const EFFECT: &str = "INSERT INTO effects (key, attempt) VALUES ($1, $2)";

/// A database with a store and a table of effects.
#[derive(Debug, Clone)]
pub(super) enum Host {
    Postgres(PgPool, PostgresStore),
    Sqlite(SqlitePool, SqliteStore),
}

impl Host {
    pub(super) async fn postgres(url: &str) -> Self {
        let pool = PgPool::connect(url).await.unwrap();
        let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await.unwrap();
        Self::Postgres(pool, store)
    }

    pub(super) async fn sqlite(pool: SqlitePool) -> Self {
        let store = SqliteStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await.unwrap();
        Self::Sqlite(pool, store)
    }

    pub(super) async fn both() -> [Self; 2] {
        let both = [Self::postgres(&database().await).await, Self::sqlite(sqlite_pool().await).await];
        for host in &both {
            host.create_effects().await;
        }
        both
    }

    pub(super) async fn create_effects(&self) {
        self.run("CREATE TABLE effects (key TEXT NOT NULL, attempt BIGINT NOT NULL)").await;
    }

    pub(super) async fn run(&self, statement: &'static str) {
        match self {
            Self::Postgres(pool, _) => drop(pool.execute(statement).await.unwrap()),
            Self::Sqlite(pool, _) => drop(pool.execute(statement).await.unwrap()),
        }
    }

    pub(super) fn store(&self) -> Arc<dyn DedupeStore> {
        match self {
            Self::Postgres(_, store) => Arc::new(store.clone()),
            Self::Sqlite(_, store) => Arc::new(store.clone()),
        }
    }

    pub(super) async fn count(&self, statement: &'static str) -> i64 {
        match self {
            Self::Postgres(pool, _) => sqlx::query_scalar(statement).fetch_one(pool).await.unwrap(),
            Self::Sqlite(pool, _) => sqlx::query_scalar(statement).fetch_one(pool).await.unwrap(),
        }
    }

    /// Returns how many events have effects, and how many effects there are.
    pub(super) async fn effects(&self) -> (i64, i64) {
        let of_events = self.count("SELECT count(DISTINCT key) FROM effects").await;
        (of_events, self.count("SELECT count(*) FROM effects").await)
    }

    /// Makes the effect and settles, and then commits or not.
    pub(super) async fn handle(
        &self,
        delivery: &Delivery<UnitPublished>,
        commits: bool,
    ) -> Result<(), HandlerError> {
        let (key, attempt) = (delivery.slot().key().to_string(), i64::from(delivery.attempt()));
        match self {
            Self::Postgres(pool, store) => {
                let mut tx = pool.begin().await?;
                sqlx::query(EFFECT).bind(key).bind(attempt).execute(&mut *tx).await?;
                store.settle_in(delivery, &mut tx).await?;
                if commits { tx.commit().await? } else { tx.rollback().await? }
            }
            Self::Sqlite(pool, store) => {
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::query(EFFECT).bind(key).bind(attempt).execute(&mut *tx).await?;
                store.settle_in(delivery, &mut tx).await?;
                if commits { tx.commit().await? } else { tx.rollback().await? }
            }
        }
        Ok(())
    }

    pub(super) async fn create_long_ago(&self) {
        self.run(match self {
            Self::Postgres(..) => "CREATE TABLE long_ago AS SELECT now() - interval '1 hour' AS since",
            Self::Sqlite(..) => "CREATE TABLE long_ago AS SELECT (unixepoch() - 3600) * 1000 AS since",
        })
        .await;
    }

    /// Claims the slot of the delivery for another claimant, once all leases are over.
    pub(super) async fn steal(&self, delivery: &Delivery<UnitPublished>) {
        self.run("UPDATE stratt_dedupe SET since = (SELECT min(since) FROM long_ago)").await;
        let thief = Slot::new(delivery.slot().consumer().clone(), delivery.slot().key());
        let claim = self.store().claim(&thief, Duration::from_mins(1)).await.unwrap();
        assert!(matches!(claim, Claim::Acquired { .. }), "{claim:?}");
    }

    /// Makes the effects of a batch and settles it.
    pub(super) async fn handle_all(&self, batch: &[Delivery<UnitPublished>]) -> Result<(), HandlerError> {
        let effects = batch.iter().map(|d| (d.slot().key().to_string(), i64::from(d.attempt())));
        match self {
            Self::Postgres(pool, store) => {
                let mut tx = pool.begin().await?;
                for (key, attempt) in effects {
                    sqlx::query(EFFECT).bind(key).bind(attempt).execute(&mut *tx).await?;
                }
                store.settle_all_in(batch, &mut tx).await?;
                tx.commit().await?;
            }
            Self::Sqlite(pool, store) => {
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                for (key, attempt) in effects {
                    sqlx::query(EFFECT).bind(key).bind(attempt).execute(&mut *tx).await?;
                }
                store.settle_all_in(batch, &mut tx).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }
}
