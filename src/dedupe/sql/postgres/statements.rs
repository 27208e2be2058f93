//! The SQL of the store in PostgreSQL.
//!
//! Each slot is looked up by itself, in an index: joined otherwise, a table that is small beside the batch is read from
//! end to end, as is one that has grown since it was analysed. `LATERAL` with `LIMIT` or `FOR UPDATE` leaves no choice,
//! and rows that were locked are found again by their place.
//!
//! A table may have any name, and the names of the parts of a statement would hide it: those end in `$`, which no
//! table's does.

use crate::sql::{render::render, schema::Part};
use std::sync::Arc;

/// The statements of a store, rendered once for its table.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) create: Arc<str>,
    pub(super) make: Arc<str>,
    pub(super) claim: Arc<str>,
    pub(super) look: Arc<str>,
    pub(super) renew: Arc<str>,
    pub(super) write: Arc<str>,
    pub(super) retentions: Arc<str>,
    pub(super) purge: Arc<str>,
}

impl Statements {
    pub(super) fn of(table: &str) -> Self {
        let rendered = |statement: &str| render(statement, table);
        Self {
            table: table.into(),
            create: rendered(CREATE),
            make: rendered(MAKE),
            claim: rendered(CLAIM),
            look: rendered(LOOK),
            renew: rendered(RENEW),
            write: rendered(WRITE),
            retentions: rendered(RETENTIONS),
            purge: rendered(PURGE),
        }
    }
}

/// The parts created by [`CREATE`].
pub(super) const PARTS: [Part; 3] =
    [Part::table("", &["consumer", "key", "fence"]), Part::sequence("_fence"), Part::index("_by_age")];

/// Creates the table. Settling writes no index and uses the free space of the page: the indexed `retention` and `fence`
/// stay as claimed, and `since` is not indexed. Old claims have low fences, so slots of one retention expire in the
/// order of their fences.
///
/// `{retention}` and `{lapsed}` are the definitions of their columns. The sequence is not owned by the table, so it
/// survives dropping the table.
const CREATE: &str = "
CREATE SEQUENCE IF NOT EXISTS {table}_fence START WITH {start};
CREATE TABLE IF NOT EXISTS {table} (
    consumer text COLLATE \"C\" NOT NULL,
    key bytea NOT NULL,
    claimant uuid,
    state smallint NOT NULL CHECK (state BETWEEN 0 AND 2),
    attempts integer NOT NULL CHECK (attempts >= 0),
    fence bigint NOT NULL CHECK (fence > 0),
    since timestamptz NOT NULL,
    {retention},
    {lapsed},
    PRIMARY KEY (key, consumer)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS {bare}_by_age ON {table} (retention, fence);
COMMENT ON COLUMN {table}.state IS '0 free, 1 held, 2 settled';
COMMENT ON COLUMN {table}.since IS 'end of the lease while held, else the time it was settled or freed';
COMMENT ON COLUMN {table}.retention IS 'how long the slot is remembered after that, in microseconds';
COMMENT ON COLUMN {table}.lapsed IS 'how many of the attempts ended by lease expiry';";

/// The column of the lapses. A program that does not know it counts none.
pub(super) const LAPSED: &str = "lapsed integer NOT NULL DEFAULT 0";

/// Claims slots that have no row: $1 consumers, $2 keys, $3 claimants, $4 leases in microseconds, $5 [`ONCE`], $6
/// retention in microseconds. Returns the inserted ones, in their order. It waits for concurrent inserts of the same
/// slots, in the order of the keys, so there is no deadlock.
const MAKE: &str = "
INSERT INTO {table} AS slot (consumer, key, claimant, state, attempts, fence, since, retention, lapsed)
SELECT consumer, key, claimant, 1, 1, nextval('{table}_fence'),
    clock_timestamp() + lease * interval '1 microsecond', $6, 0
FROM generate_series(1, $5) AS once
CROSS JOIN unnest($1::text[], $2::bytea[], $3::uuid[], $4::bigint[]) AS asked (consumer, key, claimant, lease)
LEFT JOIN LATERAL (
    SELECT true AS is_there FROM {table} AS slot WHERE slot.key = asked.key AND slot.consumer = asked.consumer LIMIT 1
) AS slot ON true
WHERE is_there IS NULL
ON CONFLICT (key, consumer) DO NOTHING
RETURNING slot.key, slot.consumer, slot.fence";

/// Claims slots that have a row: $1 consumers, $2 keys, $3 claimants, $4 leases, $5 retention, both in microseconds.
/// The retention in the row decides whether the slot has expired. Returns for each the fence, attempt and lapses of a
/// grant, otherwise the state of the slot and the rest of its lease.
///
/// `seen` are the rows in the snapshot of the statement. `open` are the rows that may be taken, in their newest version
/// and locked; a row that another transaction has locked is skipped and reported as held.
const CLAIM: &str = "
WITH asked$ AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::uuid[], $4::bigint[]) WITH ORDINALITY
        AS asked (consumer, key, claimant, lease, n)
), seen$ AS MATERIALIZED (
    SELECT n, state, since, since + retention * interval '1 microsecond' <= clock_timestamp() AS has_expired
    FROM asked$ AS asked CROSS JOIN LATERAL (
        SELECT state, since, retention FROM {table} AS slot
        WHERE slot.key = asked.key AND slot.consumer = asked.consumer LIMIT 1
    ) AS slot
), open$ AS MATERIALIZED (
    SELECT asked.*, place, attempt, lapses FROM asked$ AS asked CROSS JOIN LATERAL (
        SELECT slot.ctid AS place,
            CASE WHEN slot.since + slot.retention * interval '1 microsecond' <= clock_timestamp() THEN 1
                WHEN slot.state = 1 AND slot.claimant = asked.claimant THEN slot.attempts
                ELSE least(slot.attempts, 2147483646) + 1 END AS attempt,
            CASE WHEN slot.since + slot.retention * interval '1 microsecond' <= clock_timestamp() THEN 0
                WHEN slot.state = 1 AND slot.claimant IS DISTINCT FROM asked.claimant
                    THEN least(slot.lapsed, 2147483646) + 1
                ELSE slot.lapsed END AS lapses
        FROM {table} AS slot
        WHERE slot.key = asked.key AND slot.consumer = asked.consumer AND (slot.state = 0
            OR slot.state = 1 AND (slot.claimant = asked.claimant OR slot.since <= clock_timestamp())
            OR slot.since + slot.retention * interval '1 microsecond' <= clock_timestamp())
        FOR UPDATE SKIP LOCKED
    ) AS slot
), taken$ AS (
    UPDATE {table} AS slot SET claimant = open.claimant, state = 1, attempts = open.attempt,
        fence = nextval('{table}_fence'), since = clock_timestamp() + open.lease * interval '1 microsecond',
        retention = $5, lapsed = open.lapses
    FROM open$ AS open WHERE slot.ctid = open.place AND slot.ctid = ANY (ARRAY(SELECT place FROM open$))
    RETURNING open.n, slot.fence, slot.attempts, slot.lapsed
)
SELECT taken.fence, taken.attempts, taken.lapsed, CASE WHEN NOT has_expired THEN state END,
    ceil(extract(epoch FROM since - clock_timestamp()) * 1000000)::bigint
FROM asked$ LEFT JOIN seen$ USING (n) LEFT JOIN taken$ AS taken USING (n)
ORDER BY n";

/// Renews leases: $1 consumers, $2 keys, $3 fences, $4 leases in microseconds. Returns the fences of the rows written.
/// Rows that another transaction has locked are skipped.
const RENEW: &str = "
WITH own$ AS MATERIALIZED (
    SELECT lease, place
    FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) AS asked (consumer, key, fence, lease)
    CROSS JOIN LATERAL (
        SELECT slot.ctid AS place FROM {table} AS slot
        WHERE slot.key = asked.key AND slot.consumer = asked.consumer AND slot.fence = asked.fence AND slot.state = 1
        FOR UPDATE SKIP LOCKED
    ) AS slot
)
UPDATE {table} AS slot
SET since = greatest(slot.since, clock_timestamp() + own.lease * interval '1 microsecond')
FROM own$ AS own WHERE slot.ctid = own.place AND slot.ctid = ANY (ARRAY(SELECT place FROM own$))
RETURNING slot.fence";

/// Settles or frees slots: $1 consumers, $2 keys, $3 fences, $4 whether the slot becomes free, $5 how many attempts are
/// taken back, $6 [`ONCE`]. Returns the fences of the rows written. Rows that another transaction has locked are
/// skipped. A lapsed claim is an attempt, so a slot without attempts has no lapses either.
const WRITE: &str = "
WITH own$ AS MATERIALIZED (
    SELECT is_freed, taken_back, place
    FROM generate_series(1, $6) AS once
    CROSS JOIN unnest($1::text[], $2::bytea[], $3::bigint[], $4::boolean[], $5::integer[])
        AS asked (consumer, key, fence, is_freed, taken_back)
    CROSS JOIN LATERAL (
        SELECT slot.ctid AS place FROM {table} AS slot
        WHERE slot.key = asked.key AND slot.consumer = asked.consumer AND slot.fence = asked.fence AND slot.state = 1
        FOR UPDATE SKIP LOCKED
    ) AS slot
)
UPDATE {table} AS slot SET claimant = NULL, since = clock_timestamp(),
    state = CASE WHEN is_freed THEN 0 ELSE 2 END,
    attempts = greatest(attempts - taken_back, 0), lapsed = least(lapsed, greatest(attempts - taken_back, 0))
FROM own$ AS own WHERE slot.ctid = own.place AND slot.ctid = ANY (ARRAY(SELECT place FROM own$))
RETURNING slot.fence";

/// Reads slots: $1 consumers, $2 keys. Returns the fence, state and attempts of each row.
const LOOK: &str = "
SELECT slot.key, slot.consumer, slot.fence, slot.state, slot.attempts,
    (extract(epoch FROM slot.since - clock_timestamp()) * 1000000)::bigint
FROM unnest($1::text[], $2::bytea[]) AS asked (consumer, key) CROSS JOIN LATERAL (
    SELECT * FROM {table} AS slot WHERE slot.key = asked.key AND slot.consumer = asked.consumer LIMIT 1
) AS slot
WHERE slot.since + slot.retention * interval '1 microsecond' > clock_timestamp()";

/// An argument that makes PostgreSQL plan a statement for each batch, even when it is prepared by name. PostgreSQL
/// keeps a generic plan only if it costs no more than custom ones, and without knowing this argument it expects a
/// thousand times the rows. A generic plan could date from a time when the table was small enough for a sequential
/// scan, and persist as it grows.
pub(super) const ONCE: i32 = 1;

/// Reads the distinct retentions of all slots, in microseconds, with one index lookup for each.
const RETENTIONS: &str = "
WITH RECURSIVE kept$ AS (
    SELECT min(retention) AS retention FROM {table}
    UNION ALL
    SELECT (SELECT min(slot.retention) FROM {table} AS slot WHERE slot.retention > kept$.retention)
    FROM kept$ WHERE kept$.retention IS NOT NULL
)
SELECT retention FROM kept$ WHERE retention IS NOT NULL";

/// Removes those of the $1 oldest slots with a retention of $2 microseconds that have outlived it. A slot that is just
/// being claimed again is locked or has another date.
const PURGE: &str = "
WITH oldest$ AS MATERIALIZED (
    SELECT fence FROM {table} WHERE retention = $2 ORDER BY fence LIMIT $1
), due$ AS MATERIALIZED (
    SELECT place FROM oldest$ AS oldest CROSS JOIN LATERAL (
        SELECT slot.ctid AS place FROM {table} AS slot
        WHERE slot.retention = $2 AND slot.fence = oldest.fence
            AND slot.since + slot.retention * interval '1 microsecond' <= clock_timestamp()
        FOR UPDATE SKIP LOCKED
    ) AS slot
)
DELETE FROM {table} AS slot WHERE slot.ctid = ANY (ARRAY(SELECT place FROM due$))";
