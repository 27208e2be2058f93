//! Processes that are killed at random moments: each event has one effect all the same.

use crate::settle_in::host::Host;
use futures::{StreamExt, future::BoxFuture, stream};
use std::{path::PathBuf, time::Duration};
use stratt_event_bridge::{
    BatchOptions, ConsumerBuilder, ConsumerOptions, Delivery, Envelope, EventBridge, Feed, UnitPublished,
    async_nats,
};
use support::{Seed, Stage, database, eventually, published, quick, source, sqlite_pool_on, test_process};

const URL: &str = "SETTLE_IN_NATS_URL";
const DATABASE: &str = "SETTLE_IN_DATABASE";
const IN_BATCHES: &str = "SETTLE_IN_BATCHES";

fn options() -> ConsumerOptions {
    quick()
        // What dies with its process is attempted again as often as it takes.
        .with_max_attempts(1000)
        .with_processing_timeout(Duration::from_secs(2))
        .with_lease(Duration::from_secs(3))
        .with_ack_wait(Duration::from_secs(4))
}

fn consumer(client: async_nats::Client, host: Host, in_batches: bool) -> ConsumerBuilder {
    let builder = EventBridge::new(client, source()).consumer("exact", host.store()).options(options());
    if in_batches {
        builder.on_batch(BatchOptions::default(), move |batch: Vec<Delivery<UnitPublished>>| {
            let host = host.clone();
            async move { host.handle_all(&batch).await }
        })
    } else {
        builder.on(move |delivery: Delivery<UnitPublished>| {
            let host = host.clone();
            async move { host.handle(&delivery, true).await }
        })
    }
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
    let in_batches = std::env::var(IN_BATCHES).unwrap() == "true";
    let consumer = consumer(client, host, in_batches).build().await.unwrap();
    consumer.run(std::future::pending()).await.unwrap();
}

/// Runs the test above in a process of its own, and kills it at a random moment, again and again.
fn mortal(
    url: String,
    database: String,
    in_batches: bool,
    mut seed: Seed,
    lives: usize,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        for life in 0..lives {
            let mut child = test_process("settle_in::killed::child_that_consumes")
                .env(URL, &url)
                .env(DATABASE, &database)
                .env(IN_BATCHES, in_batches.to_string())
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
async fn each_event_has_one_effect(
    host: Host,
    database: String,
    in_batches: bool,
    events: u64,
    lives: usize,
) {
    let (usual, lives) = (lives, std::env::var("LIVES").map_or(lives, |lives| lives.parse().unwrap()));
    let events = events * (lives / usual).max(1) as u64;
    host.create_effects().await;
    let mut seed = Seed::new();
    let stage = Stage::new().await;
    // Before the children, who would race for it.
    drop(consumer(stage.client.clone(), host.clone(), in_batches).build().await.unwrap());
    let url = stage.server.url().to_owned();
    let replicas = [seed.split(), seed.split()]
        .map(|seed| tokio::spawn(mortal(url.clone(), database.clone(), in_batches, seed, lives)));
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
    let effects = || async { host.count("SELECT count(*) FROM effects").await.unsigned_abs() };
    // However long it takes, as long as there is progress.
    let mut made = 0;
    while made < events {
        made = eventually("more effects", effects, |effects| *effects > made).await;
    }
    stage.all_answered(Feed::Strat, "exact").await;
    for replica in replicas {
        replica.abort();
    }
    let stored = stage.stream(Feed::Strat).await.cached_info().state.messages;
    assert_eq!(stored, events + copies);
    assert_eq!(host.count("SELECT count(DISTINCT key) FROM effects").await.unsigned_abs(), events);
    assert_eq!(effects().await, events);
    assert!(stage.dead_letters().await.is_empty());
    let again = host.count("SELECT count(*) FROM stratt_dedupe WHERE lapsed > 0").await;
    println!("{again} events were claimed by a process that died");
    assert!(again > 0, "no process died at work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_3000_events_has_one_effect_when_killed() {
    support::needs!(Postgres);
    let url = database().await;
    each_event_has_one_effect(Host::postgres(&url).await, url, false, 3000, 8).await;
}

/// `LIVES=500` kills 1,000 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_of_a_batch_has_one_effect_when_killed() {
    support::needs!(Postgres);
    let url = database().await;
    each_event_has_one_effect(Host::postgres(&url).await, url, true, 3000, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_one_effect_in_sqlite_when_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("effects.db");
    let database = format!("sqlite:{}", path.display());
    each_event_has_one_effect(Host::sqlite(sqlite_pool_on(&path).await).await, database, false, 1000, 6)
        .await;
}
