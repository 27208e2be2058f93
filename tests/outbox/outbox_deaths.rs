//! Relay processes that are killed, and a broker that is killed with them: nothing committed is lost, nothing rolled
//! back is announced, and every unit keeps its order.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::{StreamExt, future::join_all};
use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{Envelope, EventBridge, Feed, UnitPublished, async_nats, outbox::OutboxOptions};
use support::{Outbox, Seed, Stage, database, eventually, published, source, sqlite_pool_on, test_process};
use tokio::process::Child;

const URL: &str = "OUTBOX_TEST_NATS_URL";
const DATABASE: &str = "OUTBOX_TEST_DATABASE";

async fn open(database: &str) -> Outbox {
    match database.strip_prefix("sqlite:") {
        Some(path) => Outbox::sqlite(sqlite_pool_on(Path::new(path)).await, OutboxOptions::default()).await,
        None => Outbox::postgres(database, OutboxOptions::default()).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests below in processes of its own"]
async fn child_that_relays() {
    let url = std::env::var(URL).unwrap();
    let delay = |_attempt| Duration::from_millis(20);
    let options =
        async_nats::ConnectOptions::new().retry_on_initial_connect().reconnect_delay_callback(delay);
    let bridge = EventBridge::new(options.connect(url).await.unwrap(), source());
    let _relay = open(&std::env::var(DATABASE).unwrap()).await.relay(&bridge);
    std::future::pending::<()>().await;
}

fn child(url: &str, database: &str) -> Child {
    test_process("outbox_deaths::child_that_relays").env(URL, url).env(DATABASE, database).spawn().unwrap()
}

/// Runs a relay, and kills it at a random moment, again and again. Counts the deaths in the middle of the work.
async fn mortal(url: String, database: String, mut seed: Seed, deaths: Arc<AtomicU64>) {
    let outbox = open(&database).await;
    loop {
        let mut child = child(&url, &database);
        tokio::time::sleep(Duration::from_millis(seed.between(300, 2500))).await;
        child.kill().await.unwrap();
        let sent = outbox.count("SELECT count(*) FROM stratt_outbox WHERE state = 1").await;
        if sent > 0 && outbox.status().await.pending > 0 {
            deaths.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn envelope(unit: u64, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(&format!("unit-{unit}"), number), source()).build().unwrap()
}

/// Enqueues so many events, and more until relays have died at work, in transactions of up to 40 for units of its own;
/// a tenth of the transactions roll back.
async fn announce(
    outbox: Outbox,
    units: Vec<u64>,
    events: usize,
    mut seed: Seed,
    deaths: Arc<AtomicU64>,
) -> Vec<(u64, u64)> {
    let mut committed = Vec::new();
    let mut number = 0;
    while committed.len() < events || deaths.load(Ordering::SeqCst) < 2 {
        if committed.len() >= events {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let size = seed.between(1, 41);
        let batch: Vec<_> = (0..size)
            .map(|_| {
                number += 1;
                (units[usize::try_from(seed.next()).unwrap() % units.len()], number)
            })
            .collect();
        let envelopes: Vec<_> = batch.iter().map(|(unit, number)| envelope(*unit, *number)).collect();
        let commits = seed.between(0, 10) > 0;
        outbox.enqueue(&envelopes, commits).await;
        if commits {
            committed.extend(batch);
        }
    }
    committed
}

/// The unit and the number of every event in the stream, in its order.
async fn announced(stage: &Stage) -> Vec<(u64, u64)> {
    let stream = stage.stream(Feed::Strat).await;
    let count = usize::try_from(stream.cached_info().state.messages).unwrap();
    let config = pull::Config { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(count);
    messages
        .then(|message| async {
            let message = message.unwrap();
            message.ack().await.unwrap();
            let envelope: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
            let event = envelope.narrow::<UnitPublished>().unwrap().into_event();
            let unit = event.uri.slug().trim_start_matches("unit-").parse().unwrap();
            (unit, u64::from_str_radix(&event.fingerprint.digest()[48..], 16).unwrap())
        })
        .collect()
        .await
}

/// `events` of each announcer.
async fn nothing_is_lost(database: String, events: usize, units: u64, broker_deaths: usize) {
    const ANNOUNCERS: u64 = 4;
    let mut seed = Seed::new();
    let mut stage = Stage::new().await;
    let outbox = open(&database).await;
    let deaths = Arc::new(AtomicU64::new(0));
    let relays = [seed.split(), seed.split()].map(|seed| {
        let url = stage.server.url().to_owned();
        tokio::spawn(mortal(url, database.clone(), seed, Arc::clone(&deaths)))
    });
    let announcers = (0..ANNOUNCERS).map(|announcer| {
        let units = (0..units).filter(|unit| unit % ANNOUNCERS == announcer).collect();
        tokio::spawn(announce(outbox.clone(), units, events, seed.split(), Arc::clone(&deaths)))
    });
    let announcers: Vec<_> = announcers.collect();
    for _ in 0..broker_deaths {
        tokio::time::sleep(Duration::from_millis(seed.between(500, 2000))).await;
        stage.server.kill();
        tokio::time::sleep(Duration::from_millis(seed.between(0, 500))).await;
        stage.server.restart().await.unwrap();
    }
    let committed: Vec<_> = join_all(announcers).await.into_iter().flat_map(Result::unwrap).collect();
    println!("{} events, {} relays died at work", committed.len(), deaths.load(Ordering::SeqCst));
    for relay in relays {
        relay.abort();
    }
    let _last = child(stage.server.url(), &database);
    eventually("outbox", || outbox.status(), |status| status.pending == 0).await;
    let count = committed.len();
    let announced = announced(&stage).await;
    let mut wanted: HashMap<u64, Vec<u64>> = HashMap::new();
    for (unit, number) in committed {
        wanted.entry(unit).or_default().push(number);
    }
    let mut found: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut seen = HashSet::new();
    for event in announced {
        // The broker drops what a death forced to be published again: it has the same message id.
        assert!(seen.insert(event), "{event:?} is stored twice");
        found.entry(event.0).or_default().push(event.1);
    }
    for (unit, wanted) in &wanted {
        assert_eq!(found.get(unit), Some(wanted), "unit {unit}");
    }
    assert_eq!(found.len(), wanted.len());
    assert_eq!(seen.len(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_20000_events_is_lost_or_reordered_when_killed() {
    support::needs!(Postgres);
    nothing_is_lost(database().await, 5000, 500, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_sqlite_no_event_is_lost_or_reordered_when_killed() {
    let folder = tempfile::tempdir().unwrap();
    nothing_is_lost(format!("sqlite:{}", folder.path().join("outbox.db").display()), 1000, 100, 2).await;
}
