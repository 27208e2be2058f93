//! One event that kills its process, among others that only run beside it.

use futures::StreamExt;
use std::{collections::HashMap, sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConsumerBuilder, ConsumerOptions, Delivery, EventBridge, Feed, HandlerError, UnitPublished, async_nats,
    dead_letter::DeadLetterReason,
    dedupe::{KvStore, KvStoreOptions},
};
use support::{Running, Stage, published, quick, signal, source, test_process};
use tokio::{
    process::Child,
    time::{Instant, sleep},
};

const URL: &str = "ISOLATION_TEST_URL";
const KILLER: &str = "kills every process";
const ENDLESS: &str = "never ends in the first process";
const EVENTS: u64 = 64;

/// Handlers may run for long, and leases are short.
fn options() -> ConsumerOptions {
    quick()
        .with_processing_timeout(Duration::from_mins(20))
        .with_lease(Duration::from_secs(1))
        .with_ack_wait(Duration::from_millis(1500))
}

async fn consumer(client: async_nats::Client, options: ConsumerOptions) -> ConsumerBuilder {
    let kv = KvStoreOptions::default().with_skew_margin(Duration::from_millis(100));
    let store = KvStore::create(client.clone(), kv).await.unwrap();
    EventBridge::new(client, source()).consumer("shared", Arc::new(store)).options(options)
}

/// Says what it begins with, runs beside the others for a while, and is killed or not.
async fn handle(client: async_nats::Client, delivery: Delivery<UnitPublished>) -> Result<(), HandlerError> {
    let line = format!("{} {}", delivery.sequence(), delivery.attempt());
    client.publish("runs", line.into()).await?;
    client.flush().await?;
    sleep(Duration::from_millis(100)).await;
    if delivery.event().actor.as_deref() == Some(KILLER) {
        std::process::abort();
    }
    while delivery.event().actor.as_deref() == Some(ENDLESS) && std::env::var(URL).is_ok() {
        client.publish("at.work", "".into()).await?;
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_millis(100)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "child process of the tests below"]
async fn child_that_consumes() {
    let url = std::env::var(URL).expect("the parent names its server");
    let client = async_nats::connect(&url).await.unwrap();
    let consumer =
        consumer(client.clone(), options()).await.on(move |delivery| handle(client.clone(), delivery));
    consumer.build().await.unwrap().run(std::future::pending()).await.unwrap();
}

fn child(url: &str) -> Child {
    test_process("isolation::child_that_consumes").env(URL, url).spawn().unwrap()
}

async fn one_killer_among_many(replicas: usize) {
    let stage = Stage::new().await;
    let mut told = stage.client.subscribe("runs").await.unwrap();
    stage.client.flush().await.unwrap();
    for number in 1..=EVENTS {
        let mut event = published(&format!("unit-{number}"), number);
        if number == EVENTS / 2 {
            event = event.with_actor(KILLER);
        }
        stage.bridge.publish(event).await.unwrap();
    }
    let supervisors: Vec<_> = (0..replicas)
        .map(|_| {
            let url = stage.server.url().to_owned();
            tokio::spawn(async move {
                loop {
                    child(&url).wait().await.unwrap();
                }
            })
        })
        .collect();
    let letters = stage.dead_letters_are(1).await;
    assert_eq!(letters[0].reason(), Some(DeadLetterReason::Exhausted));
    assert_eq!(letters[0].stream_sequence(), EVENTS / 2);
    stage.all_answered(Feed::Strat, "shared").await;
    assert_eq!(stage.dead_letters().await.len(), 1);
    for supervisor in supervisors {
        supervisor.abort();
    }
    stage.client.publish("runs", "end".into()).await.unwrap();
    // The runs of each event, and its greatest attempt.
    let mut runs: HashMap<u64, (u32, u32)> = HashMap::new();
    while let Some(run) = told.next().await {
        let Some((sequence, attempt)) = str::from_utf8(&run.payload).unwrap().split_once(' ') else { break };
        let (runs, greatest) = runs.entry(sequence.parse().unwrap()).or_default();
        *runs += 1;
        *greatest = (*greatest).max(attempt.parse().unwrap());
    }
    let killer = runs.remove(&(EVENTS / 2)).unwrap();
    // Twice in company, and then alone for as often as it may.
    assert_eq!(killer, (5, 3));
    assert_eq!(runs.len() as u64, EVENTS - 1);
    assert!(runs.values().all(|(runs, greatest)| *runs <= 3 && *greatest == 1), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_loses_no_innocent_event() {
    one_killer_among_many(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_innocent_event() {
    one_killer_among_many(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_lose_no_innocent_event() {
    one_killer_among_many(3).await;
}

async fn heir(stage: &Stage) -> Running {
    let client = stage.client.clone();
    let heir = consumer(stage.client.clone(), options()).await;
    let heir = heir.on(move |delivery| handle(client.clone(), delivery));
    Running::start(heir.build().await.unwrap())
}

/// Although the handler may run for 20 minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_killed_process_begins_elsewhere() {
    let stage = Stage::new().await;
    let mut told = stage.client.subscribe("runs").await.unwrap();
    stage.client.flush().await.unwrap();
    let mut killed = child(stage.server.url());
    stage.bridge.publish(published("long", 1).with_actor(ENDLESS)).await.unwrap();
    told.next().await.unwrap();
    killed.kill().await.unwrap();
    let since = Instant::now();
    let heir = heir(&stage).await;
    told.next().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    stage.all_answered(Feed::Strat, "shared").await;
    assert_eq!(heir.stop().await.handled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_frozen_past_its_lease_stops_its_handler() {
    let stage = Stage::new().await;
    let mut told = stage.client.subscribe("runs").await.unwrap();
    let mut at_work = stage.client.subscribe("at.work").await.unwrap();
    stage.client.flush().await.unwrap();
    let frozen = child(stage.server.url());
    stage.bridge.publish(published("long", 1).with_actor(ENDLESS)).await.unwrap();
    told.next().await.unwrap();
    at_work.next().await.unwrap();
    signal(&frozen, "-STOP").await;
    let heir = heir(&stage).await;
    told.next().await.unwrap();
    stage.all_answered(Feed::Strat, "shared").await;
    signal(&frozen, "-CONT").await;
    // What it had sent before it was frozen, and at most one more step before its lease is looked at.
    let mut steps = 0;
    while let Ok(step) = tokio::time::timeout(Duration::from_secs(2), at_work.next()).await {
        assert!(step.is_some());
        steps += 1;
        assert!(steps < 20, "the handler goes on without a lease");
    }
    assert_eq!(heir.stop().await.handled, 1);
    assert!(stage.dead_letters().await.is_empty());
}
