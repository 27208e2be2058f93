//! Tables that are there already: of the time before their version was written down, and of a newer program.

use crate::slots::LEASE;
use futures::future::try_join_all;
use sqlx::{Executor, PgPool, SqlitePool};
use stratt_event_bridge::{
    Envelope, Event, Feed, UnitPublished,
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions, SqliteStore, StoreErrorKind},
    outbox::{OutboxErrorKind, OutboxOptions, PostgresOutbox, SqliteOutbox},
};
use support::{Outbox, Relaying, Stage, database, eventually, published, source, sqlite_pool};

/// As version 0.1 made them.
pub(super) const ON_POSTGRES: &str = "
CREATE TABLE stratt_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uri text NOT NULL,
    subject text NOT NULL,
    message_id text NOT NULL,
    payload bytea NOT NULL,
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    error text
);
CREATE INDEX stratt_outbox_unsent ON stratt_outbox (state, id) WHERE state <> 1;
CREATE INDEX stratt_outbox_sent ON stratt_outbox (id) WHERE state = 1;
CREATE TABLE stratt_outbox_relay (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    holder uuid NOT NULL,
    until timestamptz NOT NULL
);
CREATE SEQUENCE stratt_dedupe_fence;
CREATE TABLE stratt_dedupe (
    consumer text COLLATE \"C\" NOT NULL,
    key bytea NOT NULL,
    claimant uuid,
    state smallint NOT NULL CHECK (state BETWEEN 0 AND 2),
    attempts integer NOT NULL CHECK (attempts >= 0),
    fence bigint NOT NULL CHECK (fence > 0),
    since timestamptz NOT NULL,
    PRIMARY KEY (key, consumer)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX stratt_dedupe_by_fence ON stratt_dedupe (fence);";

pub(super) const ON_SQLITE: &str = "
CREATE TABLE stratt_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    subject TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2), -- 0 pending, 1 sent, 2 set aside
    since INTEGER NOT NULL, -- ms since 1970: when it was enqueued, sent or set aside
    error TEXT
) STRICT;
CREATE INDEX stratt_outbox_unsent ON stratt_outbox (state, id) WHERE state <> 1;
CREATE INDEX stratt_outbox_sent ON stratt_outbox (id) WHERE state = 1;
CREATE TABLE stratt_outbox_relay (
    is_one INTEGER PRIMARY KEY CHECK (is_one = 1),
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE TABLE stratt_dedupe (
    fence INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    claimant TEXT,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2), -- 0 free, 1 held, 2 settled
    attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 2147483647),
    since INTEGER NOT NULL, -- ms since 1970: end of the lease while held, else when it was settled or freed
    UNIQUE (key, consumer)
) STRICT;";

/// Both databases, with these tables.
struct Databases {
    postgres: PgPool,
    url: String,
    sqlite: SqlitePool,
}

impl Databases {
    async fn of_0_1() -> Self {
        let (url, sqlite) = (database().await, sqlite_pool().await);
        let postgres = PgPool::connect(&url).await.unwrap();
        postgres.execute(ON_POSTGRES).await.unwrap();
        sqlite.execute(ON_SQLITE).await.unwrap();
        Self { postgres, url, sqlite }
    }

    /// As later builds of version 0.1 did.
    async fn say_their_version(&self) {
        let on_postgres = "COMMENT ON TABLE stratt_outbox IS 'stratt-event-bridge schema 1'";
        let on_sqlite = "CREATE TABLE stratt_outbox_schema (version INTEGER NOT NULL) STRICT;
            INSERT INTO stratt_outbox_schema (version) VALUES (1)";
        self.postgres.execute(on_postgres).await.unwrap();
        self.sqlite.execute(on_sqlite).await.unwrap();
    }

    /// Returns their present state.
    async fn versions(&self) -> (String, Vec<i64>) {
        let on_postgres = "SELECT obj_description('stratt_outbox'::regclass, 'pg_class')";
        let on_sqlite = "SELECT version FROM stratt_outbox_schema";
        (
            sqlx::query_scalar(on_postgres).fetch_one(&self.postgres).await.unwrap(),
            sqlx::query_scalar(on_sqlite).fetch_all(&self.sqlite).await.unwrap(),
        )
    }

    async fn enqueue_as_0_1(&self, envelope: &Envelope<UnitPublished>) {
        let on_postgres =
            "INSERT INTO stratt_outbox (uri, subject, message_id, payload) VALUES ($1, $2, $3, $4)";
        sqlx::query(on_postgres)
            .bind(envelope.event().uri.as_str())
            .bind(envelope.subject())
            .bind(envelope.idempotency_key().to_string())
            .bind(envelope.encode().unwrap())
            .execute(&self.postgres)
            .await
            .unwrap();
        let on_sqlite = "INSERT INTO stratt_outbox (uri, subject, message_id, payload, since)
            VALUES (?1, ?2, ?3, ?4, unixepoch() * 1000)";
        sqlx::query(on_sqlite)
            .bind(envelope.event().uri.as_str())
            .bind(envelope.subject())
            .bind(envelope.idempotency_key().to_string())
            .bind(envelope.encode().unwrap())
            .execute(&self.sqlite)
            .await
            .unwrap();
    }

    async fn settle_as_0_1(&self, slot: &Slot) {
        let on_postgres = "INSERT INTO stratt_dedupe (consumer, key, state, attempts, fence, since)
            VALUES ('tests', $1, 2, 1, nextval('stratt_dedupe_fence'), now())";
        let on_postgres = sqlx::query(on_postgres).bind(slot.key().as_bytes().to_vec());
        on_postgres.execute(&self.postgres).await.unwrap();
        let on_sqlite = "INSERT INTO stratt_dedupe (consumer, key, state, attempts, since)
            VALUES ('tests', ?1, 2, 1, unixepoch() * 1000)";
        sqlx::query(on_sqlite).bind(slot.key().to_string()).execute(&self.sqlite).await.unwrap();
    }

    fn stores(&self) -> (PostgresStore, SqliteStore) {
        let options = SqlStoreOptions::default();
        let postgres = PostgresStore::new(self.postgres.clone(), options.clone());
        (postgres, SqliteStore::new(self.sqlite.clone(), options))
    }

    fn outboxes(&self) -> (PostgresOutbox, SqliteOutbox) {
        let options = OutboxOptions::default();
        let postgres = PostgresOutbox::new(self.postgres.clone(), options.clone());
        (postgres, SqliteOutbox::new(self.sqlite.clone(), options))
    }

    fn with_outboxes(&self) -> [Outbox; 2] {
        let (postgres, sqlite) = self.outboxes();
        [Outbox::Postgres(self.postgres.clone(), postgres), Outbox::Sqlite(self.sqlite.clone(), sqlite)]
    }
}

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("a", number), source()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_outbox_version_1_are_published_after_migration() {
    support::needs!(Postgres);
    for says_its_version in [false, true] {
        let databases = Databases::of_0_1().await;
        if says_its_version {
            databases.say_their_version().await;
        }
        databases.enqueue_as_0_1(&envelope(1)).await;
        databases.enqueue_as_0_1(&envelope(2)).await;
        let another = PgPool::connect(&databases.url).await.unwrap();
        let on_postgres = [databases.postgres.clone(), another]
            .map(|pool| PostgresOutbox::new(pool, OutboxOptions::default()))
            .map(|outbox| async move { outbox.migrate().await });
        try_join_all(on_postgres).await.unwrap();
        let on_sqlite = [databases.outboxes().1, databases.outboxes().1];
        try_join_all(on_sqlite.each_ref().map(SqliteOutbox::migrate)).await.unwrap();
        assert_eq!(databases.versions().await, ("stratt-event-bridge schema 2".into(), vec![2]));

        // By a process of before that is still there.
        databases.enqueue_as_0_1(&envelope(3)).await;
        for outbox in databases.with_outboxes() {
            let stage = Stage::new().await;
            outbox.enqueue(&[envelope(4)], true).await;
            let relay = outbox.relay(&stage.bridge);
            let stored = || async { stage.stream(Feed::Strat).await.cached_info().state.messages };
            eventually("stored", stored, |stored| *stored == 4).await;
            assert_eq!(relay.stop().await.published, 4);
        }
    }
}

#[tokio::test]
async fn an_outbox_of_version_1_that_nobody_migrated_is_not_used() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    databases.enqueue_as_0_1(&envelope(1)).await;
    let stage = Stage::new().await;
    let (postgres, sqlite) = databases.outboxes();
    let mut on_postgres = databases.postgres.begin().await.unwrap();
    let mut on_sqlite = databases.sqlite.begin().await.unwrap();
    let refused = [
        postgres.enqueue(&mut on_postgres, &envelope(2)).await.unwrap_err(),
        sqlite.enqueue(&mut on_sqlite, &envelope(2)).await.unwrap_err(),
        Relaying::start(postgres.relay(&stage.bridge)).failure().await,
        Relaying::start(sqlite.relay(&stage.bridge)).failure().await,
    ];
    for error in refused {
        assert_eq!(error.kind(), OutboxErrorKind::Mismatch, "{error:?}");
        assert!(error.to_string().contains("migrate()"), "{error}");
    }
    for outbox in databases.with_outboxes() {
        assert_eq!(outbox.status().await.pending, 1);
    }
}

#[tokio::test]
async fn an_outbox_whose_version_was_lost_is_what_it_was() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    let (postgres, sqlite) = databases.outboxes();
    tokio::try_join!(postgres.migrate(), sqlite.migrate()).unwrap();
    // As by a copy without comments, or of one table alone.
    databases.postgres.execute("COMMENT ON TABLE stratt_outbox IS NULL").await.unwrap();
    databases.sqlite.execute("DROP TABLE stratt_outbox_schema").await.unwrap();
    tokio::try_join!(postgres.migrate(), sqlite.migrate()).unwrap();
    // Written down again for the sake of an older program.
    databases
        .postgres
        .execute("COMMENT ON TABLE stratt_outbox IS 'stratt-event-bridge schema 1'")
        .await
        .unwrap();
    databases.sqlite.execute("UPDATE stratt_outbox_schema SET version = 1").await.unwrap();
    tokio::try_join!(postgres.migrate(), sqlite.migrate()).unwrap();
    // Made anew beside its version.
    databases.sqlite.execute("DROP TABLE stratt_outbox").await.unwrap();
    tokio::try_join!(postgres.migrate(), sqlite.migrate()).unwrap();
    assert_eq!(databases.versions().await, ("stratt-event-bridge schema 2".into(), vec![2]));
    for outbox in databases.with_outboxes() {
        outbox.enqueue(&[envelope(1)], true).await;
    }
}

#[tokio::test]
async fn without_the_right_to_migrate_the_owner_must() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    let (owner, _) = databases.outboxes();
    databases
        .postgres
        .execute("CREATE ROLE host LOGIN; GRANT SELECT, INSERT ON stratt_outbox TO host")
        .await
        .unwrap();
    let pool = PgPool::connect(&databases.url.replace("postgres@", "host@")).await.unwrap();
    let host = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    let error = host.migrate().await.unwrap_err();
    assert_eq!(error.kind(), OutboxErrorKind::Unavailable);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("owner"), "{error:?}");
    owner.migrate().await.unwrap();
    host.migrate().await.unwrap();
    Outbox::Postgres(pool, host).enqueue(&[envelope(1)], true).await;
}

#[tokio::test]
async fn a_table_that_is_in_use_is_not_waited_for_for_long() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    let (outbox, _) = databases.outboxes();
    databases.enqueue_as_0_1(&envelope(1)).await;
    // A backup, say.
    let mut backup = databases.postgres.begin().await.unwrap();
    backup.execute("LOCK TABLE stratt_outbox IN ACCESS SHARE MODE").await.unwrap();
    let error = outbox.migrate().await.unwrap_err();
    assert_eq!(error.kind(), OutboxErrorKind::Unavailable, "{error:?}");
    // Nobody waits behind it any more, and nothing was changed.
    databases.enqueue_as_0_1(&envelope(2)).await;
    drop(backup);
    outbox.migrate().await.unwrap();
    assert_eq!(outbox.status().await.unwrap().pending, 2);
}

#[tokio::test]
async fn a_store_of_version_1_that_nobody_migrated_is_not_used() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    let (postgres, sqlite) = databases.stores();
    let stores: [&dyn DedupeStore; 2] = [&postgres, &sqlite];
    let slot = Slot::new("tests".parse().unwrap(), published("a", 1).idempotency_key());
    for store in stores {
        let error = store.claim(&slot, LEASE).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{error:?}");
        assert!(error.to_string().contains("migrate()"), "{error}");
    }
}

#[tokio::test]
async fn stores_of_version_1_remember_after_several_migrate_at_once() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    let (postgres, sqlite) = databases.stores();
    let stores: [&dyn DedupeStore; 2] = [&postgres, &sqlite];
    let slot = |number| Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key());
    databases.settle_as_0_1(&slot(1)).await;
    tokio::try_join!(postgres.migrate(), postgres.migrate(), sqlite.migrate(), sqlite.migrate()).unwrap();
    // By a process of before that is still there.
    databases.settle_as_0_1(&slot(2)).await;
    for store in stores {
        for number in [1, 2] {
            assert_eq!(store.claim(&slot(number), LEASE).await.unwrap(), Claim::Settled, "{store:?}");
        }
    }
}

#[tokio::test]
async fn tables_of_a_newer_program_are_refused_and_not_touched() {
    support::needs!(Postgres);
    let databases = Databases::of_0_1().await;
    let (postgres, sqlite) = (&databases.postgres, &databases.sqlite);
    postgres
        .execute(
        "DROP TABLE stratt_outbox_relay; COMMENT ON TABLE stratt_outbox IS 'stratt-event-bridge schema 3';
         COMMENT ON TABLE stratt_dedupe IS 'stratt-event-bridge schema 3'",
    )
    .await
    .unwrap();
    sqlite
        .execute(
            "DROP TABLE stratt_outbox_relay;
             CREATE TABLE stratt_outbox_schema (version INTEGER); INSERT INTO stratt_outbox_schema VALUES (3);
             CREATE TABLE stratt_dedupe_schema (version INTEGER); INSERT INTO stratt_dedupe_schema VALUES (3)",
        )
        .await
        .unwrap();
    let (on_postgres, on_sqlite) = databases.outboxes();
    for refused in [on_postgres.migrate().await, on_sqlite.migrate().await] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), OutboxErrorKind::Newer, "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("version 3") && cause.contains("knows 2"), "{cause}");
    }
    let (on_postgres, on_sqlite) = databases.stores();
    for refused in [on_postgres.migrate().await, on_sqlite.migrate().await] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{error:?}");
        assert!(error.to_string().contains("version 3"), "{error}");
    }
    let relay = "SELECT count(*) FROM pg_class WHERE relname = 'stratt_outbox_relay'";
    let on_postgres: i64 = sqlx::query_scalar(relay).fetch_one(&databases.postgres).await.unwrap();
    let relay = "SELECT count(*) FROM sqlite_schema WHERE name = 'stratt_outbox_relay'";
    let on_sqlite: i64 = sqlx::query_scalar(relay).fetch_one(sqlite).await.unwrap();
    assert_eq!((on_postgres, on_sqlite), (0, 0));
}

#[tokio::test]
async fn what_is_made_says_its_version() {
    support::needs!(Postgres);
    let url = database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    PostgresStore::new(pool.clone(), SqlStoreOptions::default()).migrate().await.unwrap();
    let comment = "SELECT obj_description('stratt_dedupe'::regclass, 'pg_class')";
    let comment: Option<String> = sqlx::query_scalar(comment).fetch_one(&pool).await.unwrap();
    assert_eq!(comment.as_deref(), Some("stratt-event-bridge schema 2"));
    let pool = sqlite_pool().await;
    for _again in 0..2 {
        SqliteStore::new(pool.clone(), SqlStoreOptions::default()).migrate().await.unwrap();
    }
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM stratt_dedupe_schema").fetch_all(&pool).await.unwrap();
    assert_eq!(versions, [2]);
}
