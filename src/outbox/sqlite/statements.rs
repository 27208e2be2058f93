//! The SQL of the outbox in SQLite.

use crate::{
    outbox::table::{EVENTS, RELAY},
    sql::{render::render, schema::Part},
};
use std::sync::Arc;

/// The statements of an outbox, rendered once for its table.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) create: Arc<str>,
    pub(super) enqueue: Arc<str>,
    pub(super) sent: Arc<str>,
    pub(super) quarantine: Arc<str>,
    pub(super) take_lead: Arc<str>,
    pub(super) pending: Arc<str>,
    pub(super) prune: Arc<str>,
    pub(super) step_down: Arc<str>,
    pub(super) status: Arc<str>,
    pub(super) quarantined: Arc<str>,
    pub(super) retry: Arc<str>,
    pub(super) drop_quarantined: Arc<str>,
}

impl Statements {
    pub(super) fn of(table: &str) -> Self {
        let rendered = |statement: &str| render(statement, table);
        Self {
            table: table.into(),
            create: rendered(CREATE),
            enqueue: rendered(ENQUEUE),
            sent: rendered(SENT),
            quarantine: rendered(QUARANTINE),
            take_lead: rendered(TAKE_LEAD),
            pending: rendered(PENDING),
            prune: rendered(PRUNE),
            step_down: rendered(STEP_DOWN),
            status: rendered(STATUS),
            quarantined: rendered(QUARANTINED),
            retry: rendered(RETRY),
            drop_quarantined: rendered(DROP_QUARANTINED),
        }
    }
}

/// The parts created by [`CREATE`].
pub(super) const PARTS: [Part; 4] = [EVENTS, RELAY, Part::index("_unsent"), Part::index("_sent")];

/// Creates the tables. The schema in the name of an index also applies to its table. Ids begin at the current time, so
/// that none is reused after the table was dropped.
const CREATE: &str = "
CREATE TABLE IF NOT EXISTS {table} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    subject TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2), -- 0 pending, 1 sent, 2 quarantined
    since INTEGER NOT NULL, -- ms since 1970: time when it was enqueued, sent or quarantined
    error TEXT,
    traceparent TEXT,
    tracestate TEXT
) STRICT;
INSERT INTO {schema}sqlite_sequence (name, seq) SELECT '{bare}', {now} * 1000
WHERE NOT EXISTS (SELECT 1 FROM {schema}sqlite_sequence WHERE name = '{bare}');
CREATE INDEX IF NOT EXISTS {schema}{bare}_unsent ON \"{bare}\" (state, id) WHERE state <> 1;
CREATE INDEX IF NOT EXISTS {schema}{bare}_sent ON \"{bare}\" (id) WHERE state = 1;
CREATE TABLE IF NOT EXISTS {table}_relay (
    is_one INTEGER PRIMARY KEY CHECK (is_one = 1),
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;";

/// Inserts an event.
const ENQUEUE: &str = "
INSERT INTO {table} (uri, subject, message_id, payload, traceparent, tracestate, since)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, {now})";

/// Marks rows as sent: ?1 array of ids.
const SENT: &str = "
UPDATE {table} SET state = 1, since = {now} WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0";

/// Quarantines rows: ?1 array of [id, error].
const QUARANTINE: &str = "
UPDATE {table} AS event SET state = 2, since = {now}, error = reported.value ->> 1
FROM json_each(?1) AS reported WHERE event.id = reported.value ->> 0 AND event.state = 0";

/// Takes or renews the lead: ?1 relay, ?2 lease in milliseconds. Returns a row on success.
const TAKE_LEAD: &str = "
INSERT INTO {table}_relay AS lead (is_one, holder, until) VALUES (1, ?1, {now} + ?2)
ON CONFLICT (is_one) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE lead.holder = excluded.holder OR lead.until <= {now}
RETURNING is_one";

/// Reads the oldest pending rows: ?1 the most rows, ?2 ids already held, ?3 blocked units, ?4 the most rows of one
/// unit, ?5 the most bytes. Rows excluded by a limit are newer than all included rows of their unit, so each unit keeps
/// its order. SQLite does not infer the condition of the index, `state <> 1`, from `state = 0`, so both are stated.
/// Here and below the index is named, since the planner's choice depends on whether and when `ANALYZE` was run.
const PENDING: &str = "
SELECT id, uri, subject, message_id, payload, traceparent, tracestate FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY id) - length(payload) AS bytes_before FROM (
        SELECT *, row_number() OVER (PARTITION BY uri ORDER BY id) AS place FROM (
            SELECT id, uri, subject, message_id, payload, traceparent, tracestate
            FROM {table} INDEXED BY {bare}_unsent
            WHERE state = 0 AND state <> 1
                AND id NOT IN (SELECT value FROM json_each(?2)) AND uri NOT IN (SELECT value FROM json_each(?3))
            ORDER BY id LIMIT ?1
        )
    ) WHERE place <= ?4
) WHERE bytes_before < ?5 ORDER BY id";

/// Removes those of the ?1 oldest sent rows that were sent more than ?2 milliseconds ago.
const PRUNE: &str = "
DELETE FROM {table} WHERE id IN (
    SELECT id FROM (
        SELECT id, since FROM {table} INDEXED BY {bare}_sent WHERE state = 1 ORDER BY id LIMIT ?1
    ) WHERE since <= {now} - ?2
)";

/// Gives up the lead: ?1 relay.
const STEP_DOWN: &str = "DELETE FROM {table}_relay WHERE holder = ?1";

/// Counts pending and quarantined rows.
const STATUS: &str = "
SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 2),
    {now} - min(since) FILTER (WHERE state = 0)
FROM {table} INDEXED BY {bare}_unsent WHERE state <> 1";

/// Reads the quarantined rows with the lowest ids: ?1 the most rows.
const QUARANTINED: &str = "
SELECT id, uri, subject, message_id, error, since * 1000
FROM {table} INDEXED BY {bare}_unsent WHERE state <> 1 AND state = 2 ORDER BY id LIMIT ?1";

/// Makes quarantined rows pending: ?1 array of ids.
const RETRY: &str = "
UPDATE {table} SET state = 0, since = {now}, error = NULL
WHERE id IN (SELECT value FROM json_each(?1)) AND state = 2";

/// Removes quarantined rows: ?1 array of ids.
const DROP_QUARANTINED: &str =
    "DELETE FROM {table} WHERE id IN (SELECT value FROM json_each(?1)) AND state = 2";
