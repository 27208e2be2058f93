//! The statements of the outbox.

use crate::{
    outbox::table::{EVENTS, RELAY},
    sql::{schema::Part, table_name::fill},
};
use std::sync::Arc;

/// The statements of an outbox, made for its table once.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) create: Arc<str>,
    pub(super) enqueue: Arc<str>,
    pub(super) sent: Arc<str>,
    pub(super) set_aside: Arc<str>,
    pub(super) take_lead: Arc<str>,
    pub(super) pending: Arc<str>,
    pub(super) prune: Arc<str>,
    pub(super) step_down: Arc<str>,
    pub(super) status: Arc<str>,
}

impl Statements {
    pub(super) fn of(table: &str) -> Self {
        let made = |statement: &str| fill(statement, table).replace("{now}", NOW).into();
        Self {
            table: table.into(),
            create: made(CREATE),
            enqueue: made(ENQUEUE),
            sent: made(SENT),
            set_aside: made(SET_ASIDE),
            take_lead: made(TAKE_LEAD),
            pending: made(PENDING),
            prune: made(PRUNE),
            step_down: made(STEP_DOWN),
            status: made(STATUS),
        }
    }
}

/// Milliseconds since 1970, which is what the clock of SQLite can tell. Rounded, since days are fractions here.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER)";

/// What [`CREATE`] makes.
pub(super) const PARTS: [Part; 4] = [EVENTS, RELAY, Part::index("_unsent"), Part::index("_sent")];

/// An index is in the schema that its own name says, and so is the table it is on. No id is used again after the table was
/// dropped: ids begin at the time.
const CREATE: &str = "
CREATE TABLE IF NOT EXISTS {table} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    subject TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2), -- 0 pending, 1 sent, 2 set aside
    since INTEGER NOT NULL, -- ms since 1970: when it was enqueued, sent or set aside
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

const ENQUEUE: &str = "
INSERT INTO {table} (uri, subject, message_id, payload, traceparent, tracestate, since)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, {now})";

/// ?1 array of ids.
const SENT: &str = "
UPDATE {table} SET state = 1, since = {now} WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0";

/// ?1 array of [id, error].
const SET_ASIDE: &str = "
UPDATE {table} AS event SET state = 2, since = {now}, error = reported.value ->> 1
FROM json_each(?1) AS reported WHERE event.id = reported.value ->> 0 AND event.state = 0";

/// Takes the lead or keeps it: ?1 who, ?2 for how long, in milliseconds. Answers a row if it is so.
const TAKE_LEAD: &str = "
INSERT INTO {table}_relay AS lead (is_one, holder, until) VALUES (1, ?1, {now} + ?2)
ON CONFLICT (is_one) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE lead.holder = excluded.holder OR lead.until <= {now}
RETURNING is_one";

/// The oldest pending rows: ?1 how many, ?2 those held already, ?3 units that are blocked, ?4 how many of one unit, ?5 how
/// many bytes. What is left out by a limit is newer than all of its unit that is not, so that each unit keeps its order. SQLite
/// does not see that `state = 0` implies `state <> 1`, which is what the index is for: it is stated as well. Here and below the
/// index is named, since what the planner takes depends on whether `ANALYZE` was run, and when.
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

const STEP_DOWN: &str = "DELETE FROM {table}_relay WHERE holder = ?1";

const STATUS: &str = "
SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 2),
    {now} - min(since) FILTER (WHERE state = 0)
FROM {table} INDEXED BY {bare}_unsent WHERE state <> 1";
