use super::{DEADLINE, database, sqlite_pool};
use sqlx::{Executor, PgPool, SqlitePool};
use stratt_event_bridge::{
    Envelope, Event, EventBridge,
    outbox::{
        OutboxError, OutboxOptions, OutboxRelay, OutboxStatus, PostgresOutbox, QuarantinedEvent,
        RelayProgress, RelaySummary, SqliteOutbox,
    },
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// A database of the host with an outbox.
#[derive(Debug, Clone)]
pub enum Outbox {
    Postgres(PgPool, PostgresOutbox),
    Sqlite(SqlitePool, SqliteOutbox),
}

impl Outbox {
    pub async fn postgres(url: &str, options: OutboxOptions) -> Self {
        let pool = PgPool::connect(url).await.unwrap();
        let outbox = PostgresOutbox::new(pool.clone(), options);
        outbox.migrate().await.unwrap();
        Self::Postgres(pool, outbox)
    }

    pub async fn sqlite(pool: SqlitePool, options: OutboxOptions) -> Self {
        let outbox = SqliteOutbox::new(pool.clone(), options);
        outbox.migrate().await.unwrap();
        Self::Sqlite(pool, outbox)
    }

    pub async fn both(options: OutboxOptions) -> [Self; 2] {
        [
            Self::postgres(&database().await, options.clone()).await,
            Self::sqlite(sqlite_pool().await, options).await,
        ]
    }

    /// Enqueues in one transaction, which commits or not.
    pub async fn enqueue<E: Event>(&self, envelopes: &[Envelope<E>], commits: bool) {
        match self {
            Self::Postgres(pool, outbox) => {
                let mut tx = pool.begin().await.unwrap();
                for envelope in envelopes {
                    outbox.enqueue(&mut tx, envelope).await.unwrap();
                }
                if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            }
            Self::Sqlite(pool, outbox) => {
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
                for envelope in envelopes {
                    outbox.enqueue(&mut tx, envelope).await.unwrap();
                }
                if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            }
        }
    }

    pub async fn run(&self, statement: &'static str) {
        match self {
            Self::Postgres(pool, _) => drop(pool.execute(statement).await.unwrap()),
            Self::Sqlite(pool, _) => drop(pool.execute(statement).await.unwrap()),
        }
    }

    pub async fn count(&self, statement: &'static str) -> i64 {
        match self {
            Self::Postgres(pool, _) => sqlx::query_scalar(statement).fetch_one(pool).await.unwrap(),
            Self::Sqlite(pool, _) => sqlx::query_scalar(statement).fetch_one(pool).await.unwrap(),
        }
    }

    pub async fn quarantined(&self, limit: u32) -> Vec<QuarantinedEvent> {
        match self {
            Self::Postgres(_, outbox) => outbox.quarantined(limit).await,
            Self::Sqlite(_, outbox) => outbox.quarantined(limit).await,
        }
        .unwrap()
    }

    pub async fn retry_quarantined(&self, ids: Vec<i64>) -> u64 {
        match self {
            Self::Postgres(_, outbox) => outbox.retry_quarantined(ids).await,
            Self::Sqlite(_, outbox) => outbox.retry_quarantined(ids).await,
        }
        .unwrap()
    }

    pub async fn drop_quarantined(&self, ids: Vec<i64>) -> u64 {
        match self {
            Self::Postgres(_, outbox) => outbox.drop_quarantined(ids).await,
            Self::Sqlite(_, outbox) => outbox.drop_quarantined(ids).await,
        }
        .unwrap()
    }

    pub async fn status(&self) -> OutboxStatus {
        match self {
            Self::Postgres(_, outbox) => outbox.status().await.unwrap(),
            Self::Sqlite(_, outbox) => outbox.status().await.unwrap(),
        }
    }

    pub fn relay(&self, bridge: &EventBridge) -> Relaying {
        Relaying::start(match self {
            Self::Postgres(_, outbox) => outbox.relay(bridge),
            Self::Sqlite(_, outbox) => outbox.relay(bridge),
        })
    }
}

/// A relay that runs in the background until it is stopped.
pub struct Relaying {
    pub progress: RelayProgress,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<RelaySummary, OutboxError>>,
}

impl Relaying {
    pub fn start(relay: OutboxRelay) -> Self {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _stopped_or_dropped = stopped.await;
        };
        Self { progress: relay.progress(), stop, task: tokio::spawn(relay.run(shutdown)) }
    }

    pub async fn stop(self) -> RelaySummary {
        self.stop.send(()).expect("the relay ended by itself");
        timeout(DEADLINE, self.task).await.expect("the relay does not end").unwrap().unwrap()
    }

    /// Returns the error of a relay that ends by itself.
    pub async fn failure(self) -> OutboxError {
        timeout(DEADLINE, self.task).await.expect("the relay goes on").unwrap().unwrap_err()
    }

    /// Drops the relay in the middle of its work, as a crash would.
    pub fn abort(self) {
        self.task.abort();
    }
}
