//! The dedupe stores of the selected parts, on real servers.

use crate::{Failure, consume::Load};
use sqlx::{
    SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    async_nats::Client,
    dedupe::{
        DedupeStore, KvStore, KvStoreOptions, MemoryStore, PostgresStore, RedisStore, RedisStoreOptions,
        SqlStoreOptions, SqliteStore,
    },
    testing::{Postgres, Redis},
};
use tempfile::TempDir;

/// The stores that are kept in memory or on servers, and the time that each handler waits.
const KINDS: [(&str, Option<Duration>); 6] = [
    ("memory", None),
    ("memory, 1 ms", Some(Duration::from_millis(1))),
    ("kv", None),
    ("redis", None),
    ("postgres", None),
    ("sqlite", None),
];
const IN_FLIGHT: [usize; 2] = [64, 1024];

/// The parts that consume, and what their stores need for as long as they are used.
#[derive(Default)]
pub(crate) struct Stores {
    parts: Vec<Part>,
    redis: Option<Redis>,
    postgres: Option<Postgres>,
    folder: Option<TempDir>,
}

/// The raw side of a part, by its dedupe.
pub(crate) enum Raw {
    Memory,
    Kv,
    /// With the URL of the server.
    Redis(String),
}

/// Consuming with one store and so many in flight.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) load: Load,
    raw: Raw,
    /// None where each run has a new one.
    store: Option<Arc<dyn DedupeStore>>,
}

impl Stores {
    pub(crate) async fn start(client: &Client, has: impl Fn(&str) -> bool) -> Result<Self, Failure> {
        let mut stores = Self::default();
        for (kind, waits) in KINDS {
            let parts = IN_FLIGHT.map(|in_flight| (format!("consume {kind} {in_flight}"), in_flight));
            let parts: Vec<_> = parts.into_iter().filter(|(name, _)| has(name)).collect();
            let store = if parts.is_empty() { None } else { stores.open(kind, client).await? };
            let part = |(name, in_flight)| Part {
                name,
                load: Load { in_flight, waits },
                raw: stores.raw(kind),
                store: store.clone(),
            };
            let parts: Vec<_> = parts.into_iter().map(part).collect();
            stores.parts.extend(parts);
        }
        Ok(stores)
    }

    fn raw(&self, kind: &str) -> Raw {
        match (kind, &self.redis) {
            ("kv", _) => Raw::Kv,
            ("redis", Some(server)) => Raw::Redis(server.url().clone()),
            _ => Raw::Memory,
        }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    async fn open(&mut self, kind: &str, client: &Client) -> Result<Option<Arc<dyn DedupeStore>>, Failure> {
        Ok(match kind {
            "kv" => Some(Arc::new(KvStore::create(client.clone(), KvStoreOptions::default()).await?)),
            "redis" => {
                let server = self.redis.insert(Redis::start().await?);
                let connection = redis::Client::open(server.url())?.get_connection_manager().await?;
                Some(Arc::new(RedisStore::open(connection, RedisStoreOptions::default()).await?))
            }
            "postgres" => {
                let server = self.postgres.insert(Postgres::start().await?);
                let pool = PgPoolOptions::new().test_before_acquire(false).connect(server.url()).await?;
                let store = PostgresStore::new(pool, SqlStoreOptions::default());
                store.migrate().await?;
                Some(Arc::new(store))
            }
            "sqlite" => {
                let file = self.folder.insert(tempfile::tempdir()?).path().join("bench.db");
                let file = SqliteConnectOptions::new().filename(file).create_if_missing(true);
                let pool = SqlitePool::connect_with(file.journal_mode(SqliteJournalMode::Wal)).await?;
                let store = SqliteStore::new(pool, SqlStoreOptions::default());
                store.migrate().await?;
                Some(Arc::new(store))
            }
            _ => None,
        })
    }
}

impl Part {
    pub(crate) fn raw(&self) -> &Raw {
        &self.raw
    }

    pub(crate) fn store(&self) -> Arc<dyn DedupeStore> {
        self.store.clone().unwrap_or_else(|| Arc::new(MemoryStore::new()))
    }
}
