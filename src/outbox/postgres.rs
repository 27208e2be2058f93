//! An outbox in a table of PostgreSQL.

#[cfg(test)]
#[cfg(feature = "testing")]
mod plan_tests;
mod statements;

use crate::{
    bridge::EventBridge,
    contract::{envelope::Envelope, event::Event},
    jitter,
    outbox::{
        OutboxError, OutboxOptions, OutboxRelay, OutboxStatus,
        row::{Columns, Entry, Row},
        table::{ADDED, LEASE, Look, OWNER, PRUNE_BATCH, Report, Signals, Table, VERSION},
    },
    report::report,
    sql::schema::{self, Schema},
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, postgres::PgListener};
use statements::{LEAD, PARTS, Statements};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// An outbox in a table of PostgreSQL 12 or newer, over a pool that the host owns.
///
/// ```no_run
/// use sqlx::PgPool;
/// use stratt_event_bridge::{
///     Envelope, EventBridge, UnitPublished,
///     outbox::{OutboxOptions, PostgresOutbox},
/// };
///
/// # async fn example(
/// #     bridge: EventBridge,
/// #     event: UnitPublished,
/// #     shutdown: impl Future<Output = ()> + Send + 'static,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPool::connect("postgres://orchestrator@db.internal/orchestrator").await?;
/// let outbox = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
/// outbox.migrate().await?;
/// let relay = tokio::spawn(outbox.relay(&bridge).run(shutdown));
///
/// let envelope = Envelope::builder(event, bridge.source().clone()).build()?;
/// let mut tx = pool.begin().await?;
/// sqlx::query("UPDATE units SET status = 'published' WHERE uri = $1")
///     .bind(envelope.event().uri.as_str())
///     .execute(&mut *tx)
///     .await?;
/// outbox.enqueue(&mut tx, &envelope).await?;
/// tx.commit().await?; // announced from here on, whatever happens to this process
/// relay.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOutbox {
    table: Arc<Events>,
}

impl PostgresOutbox {
    /// An outbox over `pool`; its tables must exist, see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: PgPool, options: OutboxOptions) -> Self {
        let keep_sent = options.keep_sent;
        let statements = Statements::of(&options.into_table());
        Self { table: Arc::new(Events { pool, statements, keep_sent }) }
    }

    /// Creates the tables and indexes where they are missing, and adds what is missing in a table of an
    /// [older version](crate::docs::outbox#another-version), whose rows it keeps. Several processes may do so at once.
    ///
    /// Where nothing is missing nothing is changed, and no right to create is needed. The host then needs `INSERT`
    /// and `SELECT` on the table, and the relay `SELECT`, `UPDATE` and `DELETE` on it and all four on `{table}_relay`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](super::OutboxErrorKind::Unavailable) when the database does not answer or refuses, or when a
    /// transaction keeps an older table from being changed for more than 3 s;
    /// [`Newer`](super::OutboxErrorKind::Newer) when a newer program has made the table, and
    /// [`Occupied`](super::OutboxErrorKind::Occupied) when something else has its name, such as a dedupe store: then nothing
    /// is touched.
    ///
    /// # Cancel safety
    ///
    /// It is one transaction: dropping the future leaves all of it or nothing.
    pub async fn migrate(&self) -> Result<(), OutboxError> {
        let Events { pool, statements, .. } = &*self.table;
        let Statements { table, create, .. } = statements;
        let schema = Schema { table, owner: OWNER, version: VERSION, create, added: &ADDED, parts: &PARTS };
        Ok(schema::postgres::migrate(pool, schema).await?)
    }

    /// Announces an event when the host's transaction commits, and not at all if it does not.
    ///
    /// Events of one unit are published in the order in which they are enqueued. Transactions that run at the same time
    /// and announce the same unit have an order only if one waits for the other: enqueue after the write that locks
    /// what the event is about.
    ///
    /// With the feature `otel` the event stays in the [trace](crate::docs::outbox#traces) that this is called in.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](super::OutboxErrorKind::TooLarge) and [`Invalid`](super::OutboxErrorKind::Invalid) for an envelope
    /// that could never be published, and the transaction is as it was; otherwise the transaction has failed, and must be
    /// rolled back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction in an unknown state: roll it back, which dropping it does.
    pub async fn enqueue<E: Event>(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        envelope: &Envelope<E>,
    ) -> Result<(), OutboxError> {
        let Entry { uri, subject, message_id, payload, traceparent, tracestate } = Entry::of(envelope)?;
        sqlx::query(AssertSqlSafe(Arc::clone(&self.table.statements.enqueue)))
            .bind(uri)
            .bind(subject)
            .bind(message_id)
            .bind(payload)
            .bind(traceparent)
            .bind(tracestate)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// A relay that publishes what is committed, over `bridge`. It keeps one connection of the pool to listen.
    pub fn relay(&self, bridge: &EventBridge) -> OutboxRelay {
        let table: Arc<Events> = Arc::clone(&self.table);
        OutboxRelay::new(bridge, table)
    }

    /// What waits.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](super::OutboxErrorKind::Unavailable) when the database does not answer,
    /// [`Mismatch`](super::OutboxErrorKind::Mismatch) when the table is missing.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        self.table.status().await
    }
}

/// The table.
#[derive(Debug)]
struct Events {
    pool: PgPool,
    statements: Statements,
    keep_sent: Duration,
}

impl Events {
    async fn listen(&self, signals: &Signals) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(&self.statements.channel).await?;
        loop {
            match listener.recv().await?.payload() {
                LEAD => signals.lead.notify_one(),
                _ => signals.rows.notify_one(),
            }
        }
    }
}

impl Table for Events {
    fn name(&self) -> &str {
        &self.statements.table
    }

    fn status(&self) -> BoxFuture<'_, Result<OutboxStatus, OutboxError>> {
        async move {
            let status = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.status)));
            let (pending, set_aside, age): (i64, i64, Option<i64>) =
                status.persistent(false).fetch_one(&self.pool).await?;
            Ok(OutboxStatus {
                pending: pending.unsigned_abs(),
                oldest_pending: age
                    .map(|micros| Duration::from_micros(micros.try_into().unwrap_or_default())),
                set_aside: set_aside.unsigned_abs(),
            })
        }
        .boxed()
    }

    fn lead(&self, relay: Uuid) -> BoxFuture<'_, Result<Option<Instant>, OutboxError>> {
        async move {
            // Waiting for a connection does not count.
            let mut connection = self.pool.acquire().await?;
            let since = Instant::now();
            let lead = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.take_lead)))
                .bind(relay)
                .bind(micros(LEASE))
                .persistent(false);
            let leads = lead.fetch_optional(&mut *connection).await?.is_some();
            Ok(leads.then_some(since))
        }
        .boxed()
    }

    fn mark(&self, report: Report) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            if !report.sent.is_empty() {
                let sent = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.sent))).bind(report.sent);
                sent.persistent(false).execute(&self.pool).await?;
            }
            if !report.set_aside.is_empty() {
                let (ids, errors): (Vec<i64>, Vec<String>) = report.set_aside.into_iter().unzip();
                let set_aside = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.set_aside)));
                set_aside.bind(ids).bind(errors).persistent(false).execute(&self.pool).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn look(&self, look: Look) -> BoxFuture<'_, Result<Vec<Row>, OutboxError>> {
        async move {
            let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.pending)))
                .bind(whole(look.rows))
                .bind(look.held)
                .bind(look.blocked)
                .bind(whole(look.of_each_unit))
                .bind(whole(look.bytes))
                .persistent(false)
                .fetch_all(&self.pool)
                .await?;
            Ok(rows.into_iter().map(Row::from).collect())
        }
        .boxed()
    }

    fn prune(&self) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            let pruned = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.prune)))
                .bind(PRUNE_BATCH)
                .bind(micros(self.keep_sent))
                .persistent(false)
                .execute(&self.pool)
                .await?;
            Ok(pruned.rows_affected())
        }
        .boxed()
    }

    fn step_down(&self, relay: Uuid) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            let step_down = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.step_down))).bind(relay);
            step_down.persistent(false).execute(&self.pool).await?;
            Ok(())
        }
        .boxed()
    }

    fn watch(&self, signals: Arc<Signals>) -> BoxFuture<'_, ()> {
        async move {
            loop {
                if let Err(error) = self.listen(&signals).await {
                    tracing::debug!(error = %report(&error), "outbox cannot listen; it is looked at every second");
                }
                sleep(jitter::spread(Duration::from_secs(1))).await;
            }
        }
        .boxed()
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn micros(time: Duration) -> i64 {
    /// Longer times mean nothing, and dates beyond them cannot be written: a century.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    i64::try_from(time.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}
