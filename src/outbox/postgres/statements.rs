//! The SQL of the outbox in PostgreSQL.

use crate::{
    outbox::table::{EVENTS, RELAY},
    sql::{
        render::{render, split},
        schema::Part,
    },
};
use std::sync::Arc;

/// The payload of the notification that the lead is free.
pub(super) const LEAD: &str = "lead";

/// The statements of an outbox, rendered once for its table.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) channel: String,
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
            channel: format!("{}_wake", split(table).1),
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
pub(super) const PARTS: [Part; 5] =
    [EVENTS, RELAY, Part::index("_unsent"), Part::index("_pending"), Part::index("_sent")];

/// Creates the tables. An index is always in the schema of its table. Ids begin at the current time, so that none is
/// reused after the table was dropped: a relay still running would mistake a new row for one that it has published.
const CREATE: &str = "
CREATE TABLE IF NOT EXISTS {table} (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH {start}) PRIMARY KEY,
    uri text NOT NULL,
    subject text NOT NULL,
    message_id text NOT NULL,
    payload bytea NOT NULL,
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    error text,
    traceparent text,
    tracestate text
);
CREATE INDEX IF NOT EXISTS {bare}_unsent ON {table} (state, id) WHERE state <> 1;
CREATE INDEX IF NOT EXISTS {bare}_pending ON {table} (id) WHERE state = 0;
CREATE INDEX IF NOT EXISTS {bare}_sent ON {table} (id) WHERE state = 1;
CREATE TABLE IF NOT EXISTS {table}_relay (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    holder uuid NOT NULL,
    until timestamptz NOT NULL
);
COMMENT ON COLUMN {table}.state IS '0 pending, 1 sent, 2 quarantined';
COMMENT ON COLUMN {table}.since IS 'time when it was enqueued, sent or quarantined';
COMMENT ON TABLE {table}_relay IS 'leader lease of the outbox relay: holder and expiry';";

/// Inserts an event. One notification is sent when the host's transaction commits, however many events it has.
const ENQUEUE: &str = "
WITH queued AS (
    INSERT INTO {table} (uri, subject, message_id, payload, traceparent, tracestate)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
)
SELECT pg_notify('{bare}_wake', '') FROM queued";

/// Marks rows as sent: $1 ids.
const SENT: &str = "UPDATE {table} SET state = 1, since = clock_timestamp() WHERE id = ANY($1) AND state = 0";

/// Quarantines rows: $1 ids, $2 errors.
const QUARANTINE: &str = "
UPDATE {table} AS event SET state = 2, since = clock_timestamp(), error = reported.error
FROM unnest($1::bigint[], $2::text[]) AS reported (id, error)
WHERE event.id = reported.id AND event.state = 0";

/// Takes or renews the lead: $1 relay, $2 lease in microseconds. Returns a row on success.
const TAKE_LEAD: &str = "
INSERT INTO {table}_relay AS lead (holder, until)
VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
ON CONFLICT (is_one) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE lead.holder = excluded.holder OR lead.until <= clock_timestamp()
RETURNING true";

/// Reads the oldest pending rows: $1 the most rows, $2 ids already held, $3 blocked units, $4 the most rows of one
/// unit, $5 the most bytes. All pending rows are considered, not only those beyond some id: transactions do not commit
/// in the order of their ids.
const PENDING: &str = "
SELECT id, uri, subject, message_id, payload, traceparent, tracestate FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before FROM (
        SELECT *, row_number() OVER (PARTITION BY uri ORDER BY id) AS place FROM (
            SELECT id, uri, subject, message_id, payload, traceparent, tracestate FROM {table}
            WHERE state = 0 AND id NOT IN (SELECT unnest($2::bigint[])) AND uri NOT IN (SELECT unnest($3::text[]))
            ORDER BY id LIMIT $1
        ) AS oldest
    ) AS placed WHERE place <= $4
) AS measured WHERE bytes_before < $5 ORDER BY id";

/// Removes those of the $1 oldest sent rows that were sent more than $2 microseconds ago.
const PRUNE: &str = "
DELETE FROM {table} WHERE id IN (
    SELECT id FROM (SELECT id, since FROM {table} WHERE state = 1 ORDER BY id LIMIT $1) AS oldest
    WHERE since <= clock_timestamp() - $2 * interval '1 microsecond'
)";

/// Gives up the lead and notifies the other relays: $1 relay.
const STEP_DOWN: &str = "
WITH left_behind AS (DELETE FROM {table}_relay WHERE holder = $1 RETURNING is_one)
SELECT pg_notify('{bare}_wake', 'lead') FROM left_behind";

/// Counts pending and quarantined rows. The states are stated in addition to the condition of the index: for a table
/// that was never analyzed, the planner assumes that nearly all rows are unsent and would read all of it.
const STATUS: &str = "
SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 2),
    (extract(epoch FROM clock_timestamp() - min(since) FILTER (WHERE state = 0)) * 1000000)::bigint
FROM {table} WHERE state <> 1 AND state IN (0, 2)";

/// Reads the quarantined rows with the lowest ids: $1 the most rows.
const QUARANTINED: &str = "
SELECT id, uri, subject, message_id, error, (extract(epoch FROM since) * 1000000)::bigint
FROM {table} WHERE state <> 1 AND state = 2 ORDER BY id LIMIT $1";

/// Makes quarantined rows pending and wakes the relay: $1 ids. Returns how many there were.
const RETRY: &str = "
WITH retried AS (
    UPDATE {table} SET state = 0, since = clock_timestamp(), error = NULL WHERE id = ANY($1) AND state = 2 RETURNING id
), counted AS (SELECT count(*) AS count FROM retried), woken AS (
    SELECT pg_notify('{bare}_wake', '') FROM counted WHERE count > 0
)
SELECT count FROM counted LEFT JOIN woken ON true";

/// Removes quarantined rows: $1 ids.
const DROP_QUARANTINED: &str = "DELETE FROM {table} WHERE id = ANY($1) AND state = 2";
