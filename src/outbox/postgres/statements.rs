//! The statements of the outbox.

use crate::{
    outbox::table::{EVENTS, RELAY},
    sql::{
        schema::Part,
        table_name::{fill, split},
    },
};
use std::sync::Arc;

/// What is told when nobody leads any more.
pub(super) const LEAD: &str = "lead";

/// The statements of an outbox, made for its table once.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) channel: String,
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
        let made = |statement: &str| fill(statement, table).into();
        Self {
            table: table.into(),
            channel: format!("{}_wake", split(table).1),
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

/// What [`CREATE`] makes.
pub(super) const PARTS: [Part; 5] =
    [EVENTS, RELAY, Part::index("_unsent"), Part::index("_pending"), Part::index("_sent")];

/// An index is in the schema of its table without being told so. No id is used again after the table was dropped: a relay
/// that goes on would take a new row for the one that it has published.
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
COMMENT ON COLUMN {table}.state IS '0 pending, 1 sent, 2 set aside';
COMMENT ON COLUMN {table}.since IS 'when it was enqueued, sent or set aside';
COMMENT ON TABLE {table}_relay IS 'the relay at work, and until when it is without a sign of life';";

/// A notification is sent when the host's transaction commits, once however many events it has.
const ENQUEUE: &str = "
WITH queued AS (
    INSERT INTO {table} (uri, subject, message_id, payload, traceparent, tracestate)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
)
SELECT pg_notify('{bare}_wake', '') FROM queued";

const SENT: &str = "UPDATE {table} SET state = 1, since = clock_timestamp() WHERE id = ANY($1) AND state = 0";

const SET_ASIDE: &str = "
UPDATE {table} AS event SET state = 2, since = clock_timestamp(), error = reported.error
FROM unnest($1::bigint[], $2::text[]) AS reported (id, error)
WHERE event.id = reported.id AND event.state = 0";

/// Takes the lead or keeps it: $1 who, $2 for how long, in microseconds. Answers a row if it is so.
const TAKE_LEAD: &str = "
INSERT INTO {table}_relay AS lead (holder, until)
VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
ON CONFLICT (is_one) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE lead.holder = excluded.holder OR lead.until <= clock_timestamp()
RETURNING true";

/// The oldest pending rows: $1 how many, $2 those held already, $3 units that are blocked, $4 how many of one unit, $5 how
/// many bytes. All that is pending is looked at, and not what is beyond some number: transactions do not commit in the
/// order of their ids.
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

const STEP_DOWN: &str = "
WITH left_behind AS (DELETE FROM {table}_relay WHERE holder = $1 RETURNING is_one)
SELECT pg_notify('{bare}_wake', 'lead') FROM left_behind";

/// The states are named beside the condition of the index: of a table that was never analyzed the planner expects that nearly
/// all is not sent, and would read it whole.
const STATUS: &str = "
SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 2),
    (extract(epoch FROM clock_timestamp() - min(since) FILTER (WHERE state = 0)) * 1000000)::bigint
FROM {table} WHERE state <> 1 AND state IN (0, 2)";
