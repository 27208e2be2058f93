//! The effect of a handler and the mark that it was handled, in one transaction.

use futures::{StreamExt, future::BoxFuture, stream};
use sqlx::{Executor, PgPool, SqlitePool};
use std::{path::PathBuf, sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConsumerBuilder, ConsumerOptions, Delivery, Envelope, EventBridge, Feed, HandlerError, UnitPublished,
    async_nats,
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions, SqliteStore, StoreErrorKind},
};
use support::{
    Running, Seed, Stage, database, eventually, published, quick, source, sqlite_pool, sqlite_pool_on,
    test_process,
};

const URL: &str = "SETTLE_IN_NATS_URL";
const DATABASE: &str = "SETTLE_IN_DATABASE";

/// A database with a store and a table of effects.
#[derive(Debug, Clone)]
enum Host {
    Postgres(PgPool, PostgresStore),
    Sqlite(SqlitePool, SqliteStore),
}

impl Host {
    async fn postgres(url: &str) -> Self {
        let pool = PgPool::connect(url).await.unwrap();
        let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await.unwrap();
        Self::Postgres(pool, store)
    }

    async fn sqlite(pool: SqlitePool) -> Self {
        let store = SqliteStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await.unwrap();
        Self::Sqlite(pool, store)
    }

    async fn both() -> [Self; 2] {
        let both = [Self::postgres(&database().await).await, Self::sqlite(sqlite_pool().await).await];
        for host in &both {
            host.create_effects().await;
        }
        both
    }

    async fn create_effects(&self) {
        self.run("CREATE TABLE effects (key TEXT NOT NULL, attempt BIGINT NOT NULL)").await;
    }

    async fn run(&self, statement: &'static str) {
        match self {
            Self::Postgres(pool, _) => drop(pool.execute(statement).await.unwrap()),
            Self::Sqlite(pool, _) => drop(pool.execute(statement).await.unwrap()),
        }
    }

    fn store(&self) -> Arc<dyn DedupeStore> {
        match self {
            Self::Postgres(_, store) => Arc::new(store.clone()),
            Self::Sqlite(_, store) => Arc::new(store.clone()),
        }
    }

    async fn count(&self, statement: &'static str) -> i64 {
        match self {
            Self::Postgres(pool, _) => sqlx::query_scalar(statement).fetch_one(pool).await.unwrap(),
            Self::Sqlite(pool, _) => sqlx::query_scalar(statement).fetch_one(pool).await.unwrap(),
        }
    }

    /// Makes the effect and settles, and then commits or not.
    async fn handle(&self, delivery: &Delivery<UnitPublished>, commits: bool) -> Result<(), HandlerError> {
        const EFFECT: &str = "INSERT INTO effects (key, attempt) VALUES ($1, $2)";
        let (key, attempt) = (delivery.slot().key().to_string(), i64::from(delivery.attempt()));
        match self {
            Self::Postgres(pool, store) => {
                let mut tx = pool.begin().await?;
                sqlx::query(EFFECT).bind(key).bind(attempt).execute(&mut *tx).await?;
                store.settle_in(delivery, &mut tx).await?;
                store.settle_in(delivery, &mut tx).await?;
                if commits { tx.commit().await? } else { tx.rollback().await? }
            }
            Self::Sqlite(pool, store) => {
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::query(EFFECT).bind(key).bind(attempt).execute(&mut *tx).await?;
                store.settle_in(delivery, &mut tx).await?;
                store.settle_in(delivery, &mut tx).await?;
                if commits { tx.commit().await? } else { tx.rollback().await? }
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_and_mark_commit_together_or_not_at_all() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        let handling = host.clone();
        let consumer = stage.bridge.consumer("exact", host.store()).options(quick()).on(
            move |delivery: Delivery<UnitPublished>| {
                let host = handling.clone();
                async move {
                    let is_second = delivery.attempt() == 2;
                    host.handle(&delivery, is_second).await?;
                    if is_second { Ok(()) } else { Err(HandlerError::retry("rolled back")) }
                }
            },
        );
        let running = Running::start(consumer.build().await.unwrap());
        let receipt = stage.bridge.publish(published("a", 1)).await.unwrap();
        stage.all_answered(Feed::Strat, "exact").await;
        // The same fact again, past the broker's own recognition.
        let stream = stage.stream(Feed::Strat).await;
        let stored = stream.get_raw_message(receipt.sequence()).await.unwrap();
        stage.context().publish(stored.subject, stored.payload).await.unwrap().await.unwrap();
        stage.all_answered(Feed::Strat, "exact").await;
        let summary = running.stop().await;
        assert_eq!((summary.handled, summary.retried, summary.duplicates), (1, 1, 1), "{host:?}");
        assert_eq!(host.count("SELECT count(*) FROM effects WHERE attempt = 2").await, 1);
        assert_eq!(host.count("SELECT count(*) FROM effects").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_its_claim_cannot_commit() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        let handling = host.clone();
        let (fenced, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let consumer = stage.bridge.consumer("late", host.store()).options(quick()).on(
            move |delivery: Delivery<UnitPublished>| {
                let (host, fenced) = (handling.clone(), fenced.clone());
                async move {
                    // The lease is over, and another claims.
                    host.run("UPDATE stratt_dedupe SET since = (SELECT min(since) FROM long_ago)").await;
                    let thief = Slot::new(delivery.slot().consumer().clone(), delivery.slot().key());
                    let claim = host.store().claim(&thief, Duration::from_mins(1)).await?;
                    assert!(matches!(claim, Claim::Acquired { .. }), "{claim:?}");
                    let result = host.handle(&delivery, true).await;
                    fenced.send(format!("{result:?}")).unwrap();
                    result
                }
            },
        );
        match host {
            Host::Postgres(..) => {
                host.run("CREATE TABLE long_ago AS SELECT now() - interval '1 hour' AS since").await;
            }
            Host::Sqlite(..) => {
                host.run("CREATE TABLE long_ago AS SELECT (unixepoch() - 3600) * 1000 AS since").await;
            }
        }
        let running = Running::start(consumer.build().await.unwrap());
        stage.bridge.publish(published("a", 1)).await.unwrap();
        let result = seen.recv().await.unwrap();
        assert!(result.contains(&format!("{:?}", StoreErrorKind::Fenced)), "{result}");
        let summary = running.stop().await;
        assert_eq!((summary.handled, summary.abandoned), (0, 1), "{summary:?}");
        assert_eq!(host.count("SELECT count(*) FROM effects").await, 0);
    }
}

fn options() -> ConsumerOptions {
    quick()
        // What dies with its process is attempted again as often as it takes.
        .with_max_attempts(1000)
        .with_processing_timeout(Duration::from_secs(2))
        .with_lease(Duration::from_secs(3))
        .with_ack_wait(Duration::from_secs(4))
}

fn consumer(client: async_nats::Client, host: Host) -> ConsumerBuilder {
    EventBridge::new(client, source()).consumer("exact", host.store()).options(options()).on(
        move |delivery: Delivery<UnitPublished>| {
            let host = host.clone();
            async move { host.handle(&delivery, true).await }
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests below in processes of its own"]
async fn child_that_consumes() {
    let client = async_nats::connect(std::env::var(URL).unwrap()).await.unwrap();
    let database = std::env::var(DATABASE).unwrap();
    let host = match database.strip_prefix("sqlite:") {
        Some(path) => Host::sqlite(sqlite_pool_on(&PathBuf::from(path)).await).await,
        None => Host::postgres(&database).await,
    };
    let consumer = consumer(client, host).build().await.unwrap();
    consumer.run(std::future::pending()).await.unwrap();
}

/// Runs the test above in a process of its own, and kills it at a random moment, again and again.
fn mortal(url: String, database: String, mut seed: Seed, lives: usize) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        for life in 0..lives {
            let mut child = test_process("settle_in::child_that_consumes")
                .env(URL, &url)
                .env(DATABASE, &database)
                .spawn()
                .unwrap();
            if life + 1 == lives {
                child.wait().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(seed.between(200, 1200))).await;
            child.kill().await.unwrap();
        }
    })
}

/// Two replicas that die again and again, and every tenth event twice under another message id.
async fn each_event_has_one_effect(host: Host, database: String, events: u64, lives: usize) {
    host.create_effects().await;
    let mut seed = Seed::new();
    let stage = Stage::new().await;
    // Before the children, who would race for it.
    drop(consumer(stage.client.clone(), host.clone()).build().await.unwrap());
    let url = stage.server.url().to_owned();
    let replicas = [seed.split(), seed.split()]
        .map(|seed| tokio::spawn(mortal(url.clone(), database.clone(), seed, lives)));
    let envelopes: Vec<_> = (0..events)
        .map(|number| {
            let event = published(&format!("unit-{}", number % 97), number);
            Envelope::builder(event, source()).build().unwrap()
        })
        .collect();
    let mut copies = 0;
    for chunk in envelopes.chunks(100) {
        let receipts = stage.bridge.publish_all(stream::iter(chunk.to_vec()));
        receipts.for_each(|receipt| async { drop(receipt.unwrap()) }).await;
        for envelope in chunk.iter().step_by(10) {
            let payload = envelope.encode().unwrap().into();
            stage.context().publish(envelope.subject(), payload).await.unwrap().await.unwrap();
            copies += 1;
        }
        tokio::time::sleep(Duration::from_millis(seed.between(0, 300))).await;
    }
    let effects = || host.count("SELECT count(*) FROM effects");
    eventually("effects", effects, |effects| effects.unsigned_abs() >= events).await;
    stage.all_answered(Feed::Strat, "exact").await;
    for replica in replicas {
        replica.abort();
    }
    let stored = stage.stream(Feed::Strat).await.cached_info().state.messages;
    assert_eq!(stored, events + copies);
    assert_eq!(host.count("SELECT count(DISTINCT key) FROM effects").await.unsigned_abs(), events);
    assert_eq!(effects().await.unsigned_abs(), events);
    assert!(stage.dead_letters().await.is_empty());
    let again = host.count("SELECT count(*) FROM stratt_dedupe WHERE lapsed > 0").await;
    println!("{again} events were claimed by a process that died");
    assert!(again > 0, "no process died at work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_3000_events_has_one_effect_when_killed() {
    support::needs!(Postgres);
    let url = database().await;
    each_event_has_one_effect(Host::postgres(&url).await, url, 3000, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_one_effect_in_sqlite_when_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("effects.db");
    let database = format!("sqlite:{}", path.display());
    each_event_has_one_effect(Host::sqlite(sqlite_pool_on(&path).await).await, database, 1000, 6).await;
}
