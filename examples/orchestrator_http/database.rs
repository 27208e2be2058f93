//! The database, PostgreSQL or SQLite, with the outbox in it.

use crate::{
    Failure,
    database_url::DatabaseUrl,
    unit::{Status, Unit},
};
use sqlx::{
    PgPool, Postgres, Sqlite, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use std::time::Duration;
use stratt_event_bridge::{
    Envelope, Event, EventBridge, GateName, Occurrence, RunId, UnitUri,
    outbox::{OutboxError, OutboxOptions, OutboxRelay, OutboxStatus, PostgresOutbox, SqliteOutbox},
};

const SCHEMA: &str = include_str!("schema.sql");
const UNIT: &str = "SELECT content, fingerprint, status, reason, successor, found FROM units WHERE uri = $1";
/// Transactions of one unit run one after the other, those of a unit that does not exist yet included.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
/// The time limit of waiting for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

type Row = (String, String, String, Option<String>, Option<String>, Option<String>);

/// Either database. Both understand the same statements, so each method is one statement for both.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite(SqlitePool, SqliteOutbox),
    Postgres(PgPool, PostgresOutbox),
}

/// A transaction that is about one unit. Dropped, it is rolled back.
#[derive(Debug)]
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>, SqliteOutbox),
    Postgres(sqlx::Transaction<'static, Postgres>, PostgresOutbox),
}

/// Runs the same query on whichever database it is.
macro_rules! on {
    (pool $database:expr, |$executor:ident| $query:expr) => {
        match $database {
            Database::Sqlite($executor, _) => $query,
            Database::Postgres($executor, _) => $query,
        }
    };
    (transaction $transaction:expr, |$executor:ident| $query:expr) => {
        match $transaction {
            Transaction::Sqlite(tx, _) => {
                let $executor = &mut **tx;
                $query
            }
            Transaction::Postgres(tx, _) => {
                let $executor = &mut **tx;
                $query
            }
        }
    };
}

impl Database {
    /// Connects, and creates the tables where they are missing.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, Failure> {
        let opened = match url.clone() {
            DatabaseUrl::Postgres(options) => Self::open_postgres(*options).await,
            DatabaseUrl::Sqlite(options) => Self::open_sqlite(*options).await,
        };
        opened.map_err(|error| format!("no database at {url}: {error}").into())
    }

    async fn open_postgres(options: PgConnectOptions) -> Result<Self, Failure> {
        let pool = PgPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).connect_with(options).await?;
        let mut tx = pool.begin().await?;
        sqlx::query(LOCK).bind("orchestrator_http").execute(&mut *tx).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
        tx.commit().await?;
        let outbox = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
        outbox.migrate().await?;
        Ok(Self::Postgres(pool, outbox))
    }

    async fn open_sqlite(options: SqliteConnectOptions) -> Result<Self, Failure> {
        let options = options.create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal).busy_timeout(ACQUIRE_TIMEOUT);
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        let outbox = SqliteOutbox::new(pool.clone(), OutboxOptions::default());
        outbox.migrate().await?;
        Ok(Self::Sqlite(pool, outbox))
    }

    pub(crate) async fn close(&self) {
        on!(pool self, |pool| pool.close().await);
    }

    /// Checks that the database answers.
    pub(crate) async fn ping(&self) -> Result<(), sqlx::Error> {
        on!(pool self, |pool| sqlx::query("SELECT 1").execute(pool).await.map(drop))
    }

    pub(crate) async fn unit(&self, uri: &UnitUri) -> Result<Option<Unit>, sqlx::Error> {
        let found: Option<Row> =
            on!(pool self, |pool| sqlx::query_as(UNIT).bind(uri.as_str()).fetch_optional(pool).await)?;
        found.map(|row| read(uri, row)).transpose()
    }

    pub(crate) async fn outbox_status(&self) -> Result<OutboxStatus, OutboxError> {
        match self {
            Self::Sqlite(_, outbox) => outbox.status().await,
            Self::Postgres(_, outbox) => outbox.status().await,
        }
    }

    pub(crate) fn relay(&self, bridge: &EventBridge) -> OutboxRelay {
        match self {
            Self::Sqlite(_, outbox) => outbox.relay(bridge),
            Self::Postgres(_, outbox) => outbox.relay(bridge),
        }
    }

    /// Begins a transaction about `uri`; it waits for the one before it.
    pub(crate) async fn begin(&self, uri: &UnitUri) -> Result<Transaction, sqlx::Error> {
        Ok(match self {
            // One writer at a time, whatever it writes.
            Self::Sqlite(pool, outbox) => {
                Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?, outbox.clone())
            }
            Self::Postgres(pool, outbox) => {
                let mut tx = pool.begin().await?;
                sqlx::query(LOCK).bind(uri.as_str()).execute(&mut *tx).await?;
                Transaction::Postgres(tx, outbox.clone())
            }
        })
    }
}

impl Transaction {
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx, _) => tx.commit().await,
            Self::Postgres(tx, _) => tx.commit().await,
        }
    }

    /// Announces the event when this transaction commits, and not at all if it does not.
    pub(crate) async fn enqueue<E: Event>(&mut self, envelope: &Envelope<E>) -> Result<(), OutboxError> {
        match self {
            Self::Sqlite(tx, outbox) => outbox.enqueue(tx, envelope).await,
            Self::Postgres(tx, outbox) => outbox.enqueue(tx, envelope).await,
        }
    }

    /// Counts the event, which has no occurrence yet: `None` the first time, then 2, 3, and so on.
    pub(crate) async fn next_occurrence(
        &mut self,
        event: &impl Event,
    ) -> Result<Option<Occurrence>, sqlx::Error> {
        let count = "INSERT INTO facts (first_key, times) VALUES ($1, 1)
            ON CONFLICT (first_key) DO UPDATE SET times = facts.times + 1 RETURNING times";
        // By the key, since an identity may be longer than an index of PostgreSQL takes.
        let key = event.idempotency_key().to_string();
        let times: i64 = on!(transaction self, |tx| sqlx::query_scalar(count).bind(key).fetch_one(tx).await)?;
        Ok(Occurrence::try_from(times.unsigned_abs()).ok())
    }

    pub(crate) async fn unit(&mut self, uri: &UnitUri) -> Result<Option<Unit>, sqlx::Error> {
        let found: Option<Row> =
            on!(transaction self, |tx| sqlx::query_as(UNIT).bind(uri.as_str()).fetch_optional(tx).await)?;
        found.map(|row| read(uri, row)).transpose()
    }

    pub(crate) async fn save(&mut self, unit: &Unit) -> Result<(), sqlx::Error> {
        let save = "INSERT INTO units (uri, content, fingerprint, status, reason, successor, found)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (uri) DO UPDATE SET content = excluded.content, fingerprint = excluded.fingerprint,
                status = excluded.status, reason = excluded.reason, successor = excluded.successor,
                found = excluded.found";
        on!(transaction self, |tx| sqlx::query(save)
            .bind(unit.uri.as_str())
            .bind(unit.content.as_str())
            .bind(unit.fingerprint.as_str())
            .bind(unit.status.as_str())
            .bind(unit.reason.as_deref())
            .bind(unit.successor.as_ref().map(UnitUri::as_str))
            .bind(unit.found.as_ref().map(AsRef::<str>::as_ref))
            .execute(tx)
            .await
            .map(drop))
    }

    /// `None` for a gate that did not fire in this run, else the outcome if there is one.
    pub(crate) async fn gate(
        &mut self,
        chain: &UnitUri,
        gate: &GateName,
        run: &RunId,
    ) -> Result<Option<Option<String>>, sqlx::Error> {
        let outcome = "SELECT outcome FROM gates WHERE chain = $1 AND gate = $2 AND run = $3";
        on!(transaction self, |tx| sqlx::query_scalar(outcome)
            .bind(chain.as_str())
            .bind(gate.as_str())
            .bind(run.as_str())
            .fetch_optional(tx)
            .await)
    }

    pub(crate) async fn save_gate(
        &mut self,
        chain: &UnitUri,
        gate: &GateName,
        run: &RunId,
        outcome: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let save = "INSERT INTO gates (chain, gate, run, outcome) VALUES ($1, $2, $3, $4)
            ON CONFLICT (chain, gate, run) DO UPDATE SET outcome = excluded.outcome";
        on!(transaction self, |tx| sqlx::query(save)
            .bind(chain.as_str())
            .bind(gate.as_str())
            .bind(run.as_str())
            .bind(outcome)
            .execute(tx)
            .await
            .map(drop))
    }
}

/// Another program may have written the row: a value that cannot be read is an error, not a panic.
fn read(uri: &UnitUri, row: Row) -> Result<Unit, sqlx::Error> {
    let (content, fingerprint, status, reason, successor, found) = row;
    Ok(Unit {
        uri: uri.clone(),
        content,
        fingerprint: fingerprint.parse().map_err(damaged)?,
        status: Status::parse(&status).ok_or_else(|| damaged(format!("unknown status {status:?}")))?,
        reason,
        successor: successor.map(|text| text.parse()).transpose().map_err(damaged)?,
        found: found.map(|text| text.parse()).transpose().map_err(damaged)?,
    })
}

fn damaged(error: impl Into<Failure>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
