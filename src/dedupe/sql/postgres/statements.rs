//! The statements of the store.

use std::sync::Arc;

/// The statements of a store, made for its table once.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) lock: Arc<str>,
    pub(super) exists: Arc<str>,
    pub(super) create: Arc<str>,
    pub(super) claim: Arc<str>,
    pub(super) write: Arc<str>,
    pub(super) purge: Arc<str>,
}

impl Statements {
    pub(super) fn of(table: &str) -> Self {
        // An index is in the schema of its table without being told so.
        let index = table.rsplit('.').next().unwrap_or_default();
        let made = |statement: &str| statement.replace("{table}", table).replace("{index}", index).into();
        Self {
            lock: made(LOCK),
            exists: made(EXISTS),
            create: made(CREATE),
            claim: made(CLAIM),
            write: made(WRITE),
            purge: made(PURGE),
        }
    }
}

/// `CREATE ... IF NOT EXISTS` of two sessions at once fails in one of them: they take turns.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('stratt migrate {table}', 0))";

const EXISTS: &str = "SELECT to_regclass('{table}') IS NOT NULL";

/// A settled row is written without touching an index, in the room that its page has left: `fence` is indexed, and
/// `since` is not. What was claimed long ago has a low fence, so `fence` is also the order in which rows expire.
const CREATE: &str = "
CREATE SEQUENCE {table}_fence;
CREATE TABLE {table} (
    consumer text COLLATE \"C\" NOT NULL,
    key bytea NOT NULL,
    claimant uuid,
    state smallint NOT NULL CHECK (state BETWEEN 0 AND 2),
    attempts integer NOT NULL CHECK (attempts >= 0),
    fence bigint NOT NULL CHECK (fence > 0),
    since timestamptz NOT NULL,
    PRIMARY KEY (key, consumer)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX {index}_by_fence ON {table} (fence);
COMMENT ON COLUMN {table}.state IS '0 free, 1 held, 2 settled';
COMMENT ON COLUMN {table}.since IS 'end of the lease while held, else when it was settled or freed';";

/// Claims many slots at once: $1 consumers, $2 keys, $3 claimants, $4 leases, $5 retention, both in microseconds.
///
/// `seen` is what there is, in the snapshot of the statement. `open` are the rows that may be taken, by their newest
/// version, and locked; one that another transaction has locked is skipped, and found held. `made` are new rows; who
/// inserts the same one at the same time is waited for, in the order of the keys. So there is no circle of waiting.
const CLAIM: &str = "
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::uuid[], $4::bigint[]) WITH ORDINALITY
        AS asked (consumer, key, claimant, lease, n)
), seen AS MATERIALIZED (
    SELECT n, slot.key, slot.consumer, asked.claimant, lease, state, since,
        since <= clock_timestamp() - $5 * interval '1 microsecond' AS has_expired
    FROM asked JOIN {table} AS slot ON slot.key = asked.key AND slot.consumer = asked.consumer
), open AS MATERIALIZED (
    SELECT n, slot.key, slot.consumer, seen.claimant, lease,
        CASE WHEN slot.since <= clock_timestamp() - $5 * interval '1 microsecond' THEN 1
            WHEN slot.state = 1 AND slot.claimant = seen.claimant THEN slot.attempts
            ELSE least(slot.attempts, 2147483646) + 1 END AS attempt
    FROM seen JOIN {table} AS slot ON slot.key = seen.key AND slot.consumer = seen.consumer
    WHERE slot.state = 0
        OR slot.state = 1 AND (slot.claimant = seen.claimant OR slot.since <= clock_timestamp())
        OR slot.since <= clock_timestamp() - $5 * interval '1 microsecond'
    FOR UPDATE OF slot SKIP LOCKED
), taken AS (
    UPDATE {table} AS slot SET claimant = open.claimant, state = 1, attempts = open.attempt,
        fence = nextval('{table}_fence'), since = clock_timestamp() + open.lease * interval '1 microsecond'
    FROM open WHERE slot.key = open.key AND slot.consumer = open.consumer
    RETURNING open.n, slot.fence, slot.attempts
), made AS (
    INSERT INTO {table} AS slot (consumer, key, claimant, state, attempts, fence, since)
    SELECT consumer, key, claimant, 1, 1, nextval('{table}_fence'),
        clock_timestamp() + lease * interval '1 microsecond'
    FROM asked WHERE n NOT IN (SELECT n FROM seen) ORDER BY n
    ON CONFLICT DO NOTHING
    RETURNING slot.key, slot.consumer, slot.fence, slot.attempts
)
SELECT coalesce(taken.fence, made.fence), coalesce(taken.attempts, made.attempts),
    CASE WHEN NOT has_expired THEN state END,
    ceil(extract(epoch FROM since - clock_timestamp()) * 1000000)::bigint
FROM asked
    LEFT JOIN seen USING (n)
    LEFT JOIN taken USING (n)
    LEFT JOIN made ON made.key = asked.key AND made.consumer = asked.consumer
ORDER BY n";

/// Writes many slots at once: $1 consumers, $2 keys, $3 fences, $4 whether it becomes free, $5 whether its attempts are
/// forgotten. A row that another transaction has locked is left, and seen as held.
const WRITE: &str = "
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::boolean[], $5::boolean[]) WITH ORDINALITY
        AS asked (consumer, key, fence, is_freed, is_forgotten, n)
), seen AS MATERIALIZED (
    SELECT n, slot.fence, state, attempts
    FROM asked JOIN {table} AS slot ON slot.key = asked.key AND slot.consumer = asked.consumer
), own AS MATERIALIZED (
    SELECT n, is_freed, is_forgotten, slot.key, slot.consumer
    FROM asked JOIN {table} AS slot ON slot.key = asked.key AND slot.consumer = asked.consumer
    WHERE slot.fence = asked.fence AND slot.state = 1
    FOR UPDATE OF slot SKIP LOCKED
), written AS (
    UPDATE {table} AS slot SET claimant = NULL, since = clock_timestamp(),
        state = CASE WHEN is_freed THEN 0 ELSE 2 END,
        attempts = CASE WHEN is_forgotten THEN 0 ELSE attempts END
    FROM own WHERE slot.key = own.key AND slot.consumer = own.consumer
    RETURNING own.n
)
SELECT written.n IS NOT NULL, seen.fence, seen.state, seen.attempts
FROM asked LEFT JOIN written USING (n) LEFT JOIN seen USING (n)
ORDER BY n";

/// Removes those of the $1 oldest slots that are older than $2 microseconds. One that is just being claimed again is
/// locked, or has another date.
const PURGE: &str = "
WITH oldest AS MATERIALIZED (
    SELECT fence FROM {table} ORDER BY fence LIMIT $1
), due AS MATERIALIZED (
    SELECT slot.fence FROM {table} AS slot JOIN oldest ON oldest.fence = slot.fence
    WHERE slot.since <= clock_timestamp() - $2 * interval '1 microsecond'
    FOR UPDATE OF slot SKIP LOCKED
)
DELETE FROM {table} AS slot USING due WHERE slot.fence = due.fence";
