//! Tables by any name: words of SQL, and names that are taken.

use crate::slots::{LEASE, slot};
use sqlx::{Executor, PgPool};
use std::{error::Error, time::Duration};
use stratt_event_bridge::{
    Envelope, Feed, TableName,
    dedupe::{Claim, DedupeStore, PostgresStore, SqlStoreOptions, SqliteStore, StoreErrorKind},
    outbox::{OutboxErrorKind, OutboxOptions, PostgresOutbox, SqliteOutbox},
};
use support::{Outbox, Stage, database, eventually, published, source, sqlite_pool};

fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

fn store_in(table: &str) -> SqlStoreOptions {
    SqlStoreOptions::default().with_table(name(table)).with_operation_timeout(Duration::from_secs(20))
}

fn outbox_in(table: &str) -> OutboxOptions {
    OutboxOptions::default().with_table(name(table))
}

/// Every statement of the store.
async fn works(store: &dyn DedupeStore) {
    for number in 0..2 {
        let claim = store.claim(&slot(number), LEASE).await.unwrap();
        let Claim::Acquired { fence, .. } = claim else { panic!("{claim:?}") };
        assert!(matches!(store.claim(&slot(number), LEASE).await.unwrap(), Claim::Held { .. }));
        store.settle(&slot(number), fence).await.unwrap();
        store.settle(&slot(number), fence).await.unwrap();
        assert_eq!(store.claim(&slot(number), LEASE).await.unwrap(), Claim::Settled);
    }
}

#[tokio::test]
async fn a_store_may_be_named_by_a_word_of_sql() {
    support::needs!(Postgres);
    let (pool, lite) = (PgPool::connect(&database().await).await.unwrap(), sqlite_pool().await);
    pool.execute("CREATE SCHEMA \"user\"").await.unwrap();
    // Words of SQL, and of the statements of the store.
    for table in [
        "order",
        "user",
        "select",
        "table",
        "index",
        "group",
        "current_user",
        "asked",
        "seen",
        "open",
        "taken",
        "own",
        "oldest",
        "due",
        "slot",
        "kept",
        "once",
    ] {
        for table in [table.to_owned(), format!("user.{table}")] {
            let store = PostgresStore::new(pool.clone(), store_in(&table));
            store.migrate().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
            store.migrate().await.unwrap();
            works(&store).await;
            store.purge().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        }
        for table in [table.to_owned(), format!("main.{table}")] {
            let store = SqliteStore::new(lite.clone(), store_in(&table));
            store.migrate().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
            store.migrate().await.unwrap();
            if !table.starts_with("main.") {
                works(&store).await;
            }
            store.purge().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_may_be_named_by_a_word_of_sql() {
    support::needs!(Postgres);
    let (pool, lite) = (PgPool::connect(&database().await).await.unwrap(), sqlite_pool().await);
    pool.execute("CREATE SCHEMA \"table\"").await.unwrap();
    let stage = Stage::new().await;
    for (table, number) in ["order", "user", "event", "queued", "lead", "reported"].iter().zip(0..) {
        let on_postgres = PostgresOutbox::new(pool.clone(), outbox_in(table));
        let in_schema = PostgresOutbox::new(pool.clone(), outbox_in(&format!("table.{table}")));
        let on_sqlite = SqliteOutbox::new(lite.clone(), outbox_in(table));
        on_postgres.migrate().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        in_schema.migrate().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        on_sqlite.migrate().await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        let outboxes = [
            Outbox::Postgres(pool.clone(), on_postgres),
            Outbox::Postgres(pool.clone(), in_schema),
            Outbox::Sqlite(lite.clone(), on_sqlite),
        ];
        for (place, outbox) in (0..).zip(outboxes) {
            let event = published("a", number * 3 + place);
            outbox.enqueue(&[Envelope::builder(event, source()).build().unwrap()], true).await;
            let relay = outbox.relay(&stage.bridge);
            let stored = || async { stage.stream(Feed::Strat).await.cached_info().state.messages };
            eventually(table, stored, |stored| *stored == number * 3 + place + 1).await;
            assert_eq!(relay.stop().await.published, 1);
        }
    }
}

#[tokio::test]
async fn an_outbox_does_not_take_the_table_of_a_store() {
    support::needs!(Postgres);
    for (of_the_store, of_the_outbox) in [("a", "a"), ("a_relay", "a")] {
        let (pool, lite) = (PgPool::connect(&database().await).await.unwrap(), sqlite_pool().await);
        let on_postgres = PostgresStore::new(pool.clone(), store_in(of_the_store));
        let on_sqlite = SqliteStore::new(lite.clone(), store_in(of_the_store));
        on_postgres.migrate().await.unwrap();
        on_sqlite.migrate().await.unwrap();
        for error in [
            PostgresOutbox::new(pool, outbox_in(of_the_outbox)).migrate().await.unwrap_err(),
            SqliteOutbox::new(lite, outbox_in(of_the_outbox)).migrate().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), OutboxErrorKind::Occupied, "{error:?}");
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains(&format!("{of_the_store} is not")), "{cause}");
            assert!(cause.contains("with_table"), "{cause}");
        }
        for store in [&on_postgres as &dyn DedupeStore, &on_sqlite] {
            works(store).await;
        }
        on_postgres.migrate().await.unwrap();
        on_sqlite.migrate().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_does_not_take_the_table_of_an_outbox() {
    support::needs!(Postgres);
    for (of_the_outbox, of_the_store) in [("a", "a"), ("a", "a_relay"), ("a_by_age", "a")] {
        let (pool, lite) = (PgPool::connect(&database().await).await.unwrap(), sqlite_pool().await);
        let on_postgres = PostgresOutbox::new(pool.clone(), outbox_in(of_the_outbox));
        let on_sqlite = SqliteOutbox::new(lite.clone(), outbox_in(of_the_outbox));
        on_postgres.migrate().await.unwrap();
        on_sqlite.migrate().await.unwrap();
        for error in [
            PostgresStore::new(pool, store_in(of_the_store)).migrate().await.unwrap_err(),
            SqliteStore::new(lite, store_in(of_the_store)).migrate().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{error:?}");
            let error = error.to_string();
            assert!(error.contains(" is not ") && error.contains("with_table"), "{error}");
        }
        assert_eq!(on_postgres.status().await.unwrap().pending, 0);
        assert_eq!(on_sqlite.status().await.unwrap().pending, 0);
        on_postgres.migrate().await.unwrap();
        on_sqlite.migrate().await.unwrap();
    }
}

/// A sequence, an index, a view or a table of the host's own.
#[tokio::test]
async fn a_store_takes_nothing_of_somebody_else() {
    support::needs!(Postgres);
    for (made, taken) in [
        ("CREATE TABLE a (id integer)", "a"),
        ("CREATE VIEW a AS SELECT 1 AS fence", "a"),
        ("CREATE TABLE a_fence (id integer)", "a_fence"),
        ("CREATE SEQUENCE a", "a"),
        ("CREATE TABLE units (id integer); CREATE INDEX a_by_age ON units (id)", "a_by_age"),
        ("CREATE TABLE units (id integer); CREATE INDEX a ON units (id)", "a"),
    ] {
        let pool = PgPool::connect(&database().await).await.unwrap();
        pool.execute(made).await.unwrap();
        let error = PostgresStore::new(pool.clone(), store_in("a")).migrate().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{made}: {error:?}");
        assert!(error.to_string().contains(&format!("{taken} is not")), "{made}: {error}");
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relname LIKE 'a%fence'")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(left, i64::from(taken == "a_fence"), "{made}");
    }
    for (made, taken) in [
        ("CREATE TABLE a (id integer)", "a"),
        ("CREATE VIEW a AS SELECT 1 AS fence", "a"),
        ("CREATE TABLE a_schema (id integer)", "a_schema"),
        ("CREATE TABLE units (id integer); CREATE INDEX a_by_age ON units (id)", "a_by_age"),
    ] {
        let lite = sqlite_pool().await;
        lite.execute(made).await.unwrap();
        let error = SqliteStore::new(lite, store_in("a")).migrate().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{made}: {error:?}");
        assert!(error.to_string().contains(&format!("{taken} is not")), "{made}: {error}");
    }
}
