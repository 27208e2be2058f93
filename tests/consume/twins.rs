//! The same fact stored more than once: handled once, and never by two at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Envelope, EventBridge, Feed, HandlerError, UnitPublished,
    dedupe::{KvStore, KvStoreOptions},
};
use support::{Running, Stage, eventually, published, source};
use tokio::time::sleep;

const FACTS: u64 = 20;
const COPIES: usize = 4;

/// Stores an event that the broker already has, under another message id, as if after the duplicate window.
async fn store_again(stage: &Stage, event: UnitPublished, id: &str) {
    let envelope = Envelope::builder(event, source()).build().unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    let payload = envelope.encode().unwrap().into();
    let stored =
        stage.context().publish_with_headers(envelope.subject(), headers, payload).await.unwrap().await;
    assert!(!stored.unwrap().duplicate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_in_two_processes_are_handled_once_per_fact() {
    let stage = Stage::new().await;
    let running_now: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let done: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let mut consumers = Vec::new();
    for _ in 0..2 {
        // A connection and a store of its own each, as two processes have.
        let client = stage.server.connect().await.unwrap();
        let store = KvStore::create(client.clone(), KvStoreOptions::default()).await.unwrap();
        let (now, done) = (Arc::clone(&running_now), Arc::clone(&done));
        let handler = move |delivery: Delivery<UnitPublished>| {
            let (now, done) = (Arc::clone(&now), Arc::clone(&done));
            async move {
                let key = delivery.slot().key().to_string();
                let running = {
                    let mut now = now.lock().unwrap();
                    let running = now.entry(key.clone()).or_default();
                    *running += 1;
                    *running
                };
                sleep(Duration::from_millis(20)).await;
                *now.lock().unwrap().get_mut(&key).unwrap() -= 1;
                *done.lock().unwrap().entry(key).or_default() += 1;
                // The count of effects shows it if it ever happens.
                if running == 1 { Ok(()) } else { Err(HandlerError::reject("two at once")) }
            }
        };
        let bridge = EventBridge::new(client, source());
        let consumer = bridge.consumer("twins", Arc::new(store)).options(support::quick()).on(handler);
        consumers.push(Running::start(consumer.build().await.unwrap()));
    }
    for number in 0..FACTS {
        for copy in 0..COPIES {
            store_again(&stage, published("a", number), &format!("{number}-{copy}")).await;
        }
    }
    eventually("facts", || async { done.lock().unwrap().len() }, |facts| *facts == 20).await;
    stage.all_answered(Feed::Strat, "twins").await;
    let (mut handled, mut duplicates) = (0, 0);
    for consumer in consumers {
        let summary = consumer.stop().await;
        (handled, duplicates) = (handled + summary.handled, duplicates + summary.duplicates);
    }
    assert_eq!((handled, duplicates), (FACTS, FACTS * (COPIES as u64 - 1)));
    assert!(done.lock().unwrap().values().all(|runs| *runs == 1));
    assert!(stage.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_share_a_store_each_handle_the_event() {
    let stage = Stage::new().await;
    let handled = Arc::new(AtomicU32::new(0));
    let mut running = Vec::new();
    for name in ["one", "two"] {
        let handled = Arc::clone(&handled);
        let consumer = stage.consumer(name).on(move |_: Delivery<UnitPublished>| {
            handled.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        running.push(Running::start(consumer.build().await.unwrap()));
    }
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 2).await;
    for consumer in running {
        assert_eq!(consumer.stop().await.handled, 1);
    }
}
