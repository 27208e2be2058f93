//! `migrate()` makes what is missing, whichever of its objects are there.

use sqlx::{Executor, PgPool, SqlitePool};
use std::time::Duration;
use stratt_event_bridge::{
    Event,
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions, SqliteStore, StoreErrorKind},
    outbox::{OutboxOptions, PostgresOutbox, SqliteOutbox},
};
use support::{database, published, sqlite_pool};

/// All ways to drop some of these.
fn some_of<'a>(drops: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    (1..1_u32 << drops.len()).map(|chosen| {
        let is_chosen = |(place, _): &(usize, &&str)| chosen & (1 << place) != 0;
        let drops: Vec<_> = drops.iter().enumerate().filter(is_chosen).map(|(_, drop)| *drop).collect();
        drops.join("; ")
    })
}

/// The objects that exist, without what the database makes by itself.
async fn objects_in_postgres(pool: &PgPool) -> Vec<(String, Option<String>)> {
    let objects = "SELECT relname::text, obj_description(oid, 'pg_class') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace ORDER BY relname";
    sqlx::query_as(objects).fetch_all(pool).await.unwrap()
}

async fn objects_in_sqlite(pool: &SqlitePool) -> Vec<(String,)> {
    let objects = "SELECT name FROM sqlite_schema ORDER BY name";
    sqlx::query_as(objects).fetch_all(pool).await.unwrap()
}

async fn works(store: &dyn DedupeStore, number: u64) {
    let slot = Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key());
    let claim = store.claim(&slot, Duration::from_mins(1)).await.unwrap();
    let Claim::Acquired { fence, .. } = claim else { panic!("{claim:?}") };
    store.settle(&slot, fence).await.unwrap();
}

#[tokio::test]
async fn a_store_in_postgres_is_repaired_in_place() {
    support::needs!(Postgres);
    let pool = PgPool::connect(&database().await).await.unwrap();
    let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
    store.migrate().await.unwrap();
    let whole = objects_in_postgres(&pool).await;
    let drops = [
        "COMMENT ON TABLE stratt_dedupe IS NULL",
        "ALTER TABLE stratt_dedupe DROP COLUMN lapsed",
        "DROP INDEX stratt_dedupe_by_age",
        "DROP TABLE stratt_dedupe",
        "DROP SEQUENCE stratt_dedupe_fence",
    ];
    for (number, lost) in (0..).zip(some_of(&drops)) {
        pool.execute(sqlx::AssertSqlSafe(lost.clone())).await.unwrap();
        // A process that was there before finds it repaired.
        let another = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
        another.migrate().await.unwrap_or_else(|error| panic!("{lost}: {error:?}"));
        assert_eq!(objects_in_postgres(&pool).await, whole, "{lost}");
        works(&store, number).await;
        store.purge().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_in_sqlite_is_repaired_in_place() {
    let pool = sqlite_pool().await;
    let store = SqliteStore::new(pool.clone(), SqlStoreOptions::default());
    store.migrate().await.unwrap();
    let whole = objects_in_sqlite(&pool).await;
    let drops = [
        "DELETE FROM stratt_dedupe_schema",
        "ALTER TABLE stratt_dedupe DROP COLUMN lapsed",
        "DROP INDEX stratt_dedupe_by_age",
        "DROP TABLE stratt_dedupe",
        "DROP TABLE stratt_dedupe_schema",
    ];
    for (number, lost) in (0..).zip(some_of(&drops)) {
        pool.execute(sqlx::AssertSqlSafe(lost.clone())).await.unwrap();
        store.migrate().await.unwrap_or_else(|error| panic!("{lost}: {error:?}"));
        assert_eq!(objects_in_sqlite(&pool).await, whole, "{lost}");
        works(&store, number).await;
        store.purge().await.unwrap();
    }
}

#[tokio::test]
async fn a_table_without_a_column_is_refused_until_repaired() {
    support::needs!(Postgres);
    let (pool, lite) = (PgPool::connect(&database().await).await.unwrap(), sqlite_pool().await);
    let postgres = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
    let sqlite = SqliteStore::new(lite.clone(), SqlStoreOptions::default());
    tokio::try_join!(postgres.migrate(), sqlite.migrate()).unwrap();
    let stores: [&dyn DedupeStore; 2] = [&postgres, &sqlite];
    for store in stores {
        works(store, 1).await;
    }
    let lost = "ALTER TABLE stratt_dedupe DROP COLUMN lapsed";
    pool.execute(lost).await.unwrap();
    lite.execute(lost).await.unwrap();
    let slot = |number| Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key());
    for store in stores {
        for number in [1, 2] {
            let error = store.claim(&slot(number), Duration::from_mins(1)).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{error:?}");
            assert!(error.to_string().contains("migrate()"), "{error}");
        }
    }
    tokio::try_join!(postgres.migrate(), sqlite.migrate()).unwrap();
    for store in stores {
        let claim = store.claim(&slot(1), Duration::from_mins(1)).await.unwrap();
        assert_eq!(claim, Claim::Settled);
        works(store, 2).await;
    }
}

#[tokio::test]
async fn an_outbox_in_postgres_is_repaired_in_place() {
    support::needs!(Postgres);
    let pool = PgPool::connect(&database().await).await.unwrap();
    let outbox = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    outbox.migrate().await.unwrap();
    let whole = objects_in_postgres(&pool).await;
    let mut drops: Vec<_> = whole
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.ends_with("sent"))
        .map(|index| format!("DROP INDEX {index}"))
        .collect();
    assert_eq!(drops.len(), 2, "{whole:?}");
    drops.extend(["DROP TABLE stratt_outbox", "DROP TABLE stratt_outbox_relay"].map(String::from));
    let drops: Vec<_> = drops.iter().map(String::as_str).collect();
    for lost in some_of(&drops) {
        pool.execute(sqlx::AssertSqlSafe(lost.clone())).await.unwrap();
        outbox.migrate().await.unwrap_or_else(|error| panic!("{lost}: {error:?}"));
        assert_eq!(objects_in_postgres(&pool).await, whole, "{lost}");
        assert_eq!(outbox.status().await.unwrap().pending, 0);
    }
}

#[tokio::test]
async fn an_outbox_in_sqlite_is_repaired_in_place() {
    let pool = sqlite_pool().await;
    let outbox = SqliteOutbox::new(pool.clone(), OutboxOptions::default());
    outbox.migrate().await.unwrap();
    let whole = objects_in_sqlite(&pool).await;
    let drops = [
        "DROP INDEX stratt_outbox_sent",
        "DROP TABLE stratt_outbox",
        "DROP TABLE stratt_outbox_relay",
        "DROP TABLE stratt_outbox_schema",
    ];
    for lost in some_of(&drops) {
        pool.execute(sqlx::AssertSqlSafe(lost.clone())).await.unwrap();
        outbox.migrate().await.unwrap_or_else(|error| panic!("{lost}: {error:?}"));
        assert_eq!(objects_in_sqlite(&pool).await, whole, "{lost}");
        assert_eq!(outbox.status().await.unwrap().pending, 0);
    }
}

/// A relay that knew the rows of the table before would mark those of the new one as sent.
#[tokio::test]
async fn rows_of_an_outbox_that_is_made_anew_have_new_ids() {
    support::needs!(Postgres);
    let (pool, lite) = (PgPool::connect(&database().await).await.unwrap(), sqlite_pool().await);
    let postgres = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    let sqlite = SqliteOutbox::new(lite.clone(), OutboxOptions::default());
    let insert = "INSERT INTO stratt_outbox (uri, subject, message_id, payload, since)
        VALUES ('u', 's', 'm', 'p', CURRENT_TIMESTAMP) RETURNING id";
    let mut ids = Vec::new();
    for _again in 0..2 {
        postgres.migrate().await.unwrap();
        sqlite.migrate().await.unwrap();
        let on_postgres: i64 = sqlx::query_scalar(insert).fetch_one(&pool).await.unwrap();
        let insert = insert.replace("CURRENT_TIMESTAMP", "0").replace("'p'", "x'70'");
        let insert = sqlx::query_scalar(sqlx::AssertSqlSafe(insert));
        ids.push((on_postgres, insert.fetch_one(&lite).await.unwrap()));
        pool.execute("DROP TABLE stratt_outbox").await.unwrap();
        lite.execute("DROP TABLE stratt_outbox").await.unwrap();
    }
    let [before, after]: [(i64, i64); 2] = ids.try_into().unwrap();
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} and again {after:?}");
}
