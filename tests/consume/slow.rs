//! Slow handlers, long queues, and handlers that never end.

use async_nats::jetstream::consumer::pull;
use futures::{StreamExt, stream};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Envelope, Event, Feed, UnitDeprecated, UnitPublished, async_nats, dead_letter::DeadLetterReason,
};
use support::{Running, Stage, eventually, published, quick, source};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_outlives_the_ack_wait_is_handled_once() {
    let stage = Stage::new().await;
    let options = quick()
        .with_processing_timeout(Duration::from_secs(1))
        .with_lease(Duration::from_millis(1500))
        .with_ack_wait(Duration::from_secs(2));
    let runs: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&runs);
    let consumer = stage.consumer("slow").options(options).on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.sequence());
        async {
            sleep(Duration::from_millis(120)).await;
            Ok(())
        }
    });
    // All of one unit, so that the last waits for the 63 before it: four times the ack wait.
    for number in 1..=64 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    eventually("runs", || async { runs.lock().unwrap().len() }, |runs| *runs >= 64).await;
    stage.all_answered(Feed::Strat, "slow").await;
    let summary = running.stop().await;
    assert_eq!((summary.received, summary.handled), (64, 64));
    // Each once, in the order of the stream.
    assert_eq!(*runs.lock().unwrap(), (1..=64).collect::<Vec<_>>());
}

/// Returns the sizes of the requests for messages of a durable.
async fn requests(stage: &Stage, durable: &str) -> Arc<Mutex<Vec<u64>>> {
    let client = stage.server.connect().await.unwrap();
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.STRATT_EVENTS.{durable}");
    let mut requests = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    let sizes: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&sizes);
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let body: serde_json::Value = serde_json::from_slice(&request.payload).unwrap();
            seen.lock().unwrap().push(body["batch"].as_u64().unwrap());
        }
        drop(client);
    });
    sizes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_counts_what_the_open_one_lacks() {
    let stage = Stage::new().await;
    let consumer = stage.consumer("ahead").options(quick().with_max_in_flight(8));
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap();
    let sizes = requests(&stage, "ahead").await;
    let running = Running::start(consumer);
    let asked = async || sizes.lock().unwrap().clone();
    eventually("requests", asked, |sizes| *sizes == [8]).await;
    for number in 1..=3 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "ahead").await;
    // Five are still requested: the room for three is less than half.
    assert_eq!(asked().await, [8]);
    stage.bridge.publish(published("one", 4)).await.unwrap();
    eventually("requests", asked, |sizes| *sizes == [8, 4]).await;
    // The first request ends after ten seconds and lacks four; the second one stays.
    eventually("requests", asked, |sizes| sizes.len() > 2).await;
    assert_eq!(asked().await.get(..3), Some([8, 4, 4].as_slice()));
    for number in 5..=20 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "ahead").await;
    assert_eq!(running.stop().await.handled, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_asked_for_than_can_be_held() {
    let stage = Stage::new().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (handled, opens) = (Arc::new(AtomicU32::new(0)), Arc::clone(&gate));
    let count = Arc::clone(&handled);
    let options = quick().with_max_in_flight(8);
    let consumer = stage.consumer("bounded").options(options).on(move |_: Delivery<UnitPublished>| {
        let (count, opens) = (Arc::clone(&count), Arc::clone(&opens));
        async move {
            opens.acquire().await?.forget();
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    for number in 0..100 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    let at_server = || async {
        let stream = stage.stream(Feed::Strat).await;
        let info = stream.get_consumer::<pull::Config>("bounded").await.unwrap().cached_info().clone();
        (info.delivered.consumer_sequence, info.num_waiting)
    };
    // Eight are in flight and no request waits at the server, so it cannot deliver a ninth.
    eventually("delivered and waiting requests", at_server, |seen| *seen == (8, 0)).await;
    gate.add_permits(3);
    eventually("delivered and waiting requests", at_server, |seen| *seen == (11, 0)).await;
    gate.add_permits(100);
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 100).await;
    stage.all_answered(Feed::Strat, "bounded").await;
    assert_eq!(running.stop().await.handled, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_unit_is_handled_one_at_a_time_and_others_beside_it() {
    let stage = Stage::new().await;
    let running_now: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let most_at_once = Arc::new(AtomicU32::new(0));
    let (by_unit, most) = (Arc::clone(&running_now), Arc::clone(&most_at_once));
    let consumer = stage.consumer("ordered").on(move |delivery: Delivery<UnitPublished>| {
        let (by_unit, most) = (Arc::clone(&by_unit), Arc::clone(&most));
        async move {
            let unit = delivery.event().unit_uri().to_string();
            {
                let mut by_unit = by_unit.lock().unwrap();
                *by_unit.entry(unit.clone()).or_default() += 1;
                assert_eq!(by_unit[&unit], 1, "two of one unit at once");
                most.fetch_max(by_unit.values().sum(), Ordering::SeqCst);
            }
            sleep(Duration::from_millis(5)).await;
            *by_unit.lock().unwrap().get_mut(&unit).unwrap() -= 1;
            Ok(())
        }
    });
    for number in 0..200 {
        stage.bridge.publish(published(&format!("unit-{}", number % 5), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "ordered").await;
    let summary = running.stop().await;
    // A handler that saw two at once panicked, and would have been retried.
    assert_eq!((summary.handled, summary.retried), (200, 0));
    assert_eq!(most_at_once.load(Ordering::SeqCst), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_or_a_timeout_fails_its_own_attempt_alone() {
    let stage = Stage::new().await;
    let options = quick().with_processing_timeout(Duration::from_millis(100)).with_max_attempts(2);
    let consumer = stage
        .consumer("broken")
        .options(options)
        .on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.event().actor.as_deref() {
                Some("panics") => panic!("as it must"),
                Some("hangs") => std::future::pending().await,
                _ => Ok(()),
            }
        })
        // Panics before there is a future.
        .on(|_: Delivery<UnitDeprecated>| -> std::future::Ready<_> { panic!("at once") });
    let running = Running::start(consumer.build().await.unwrap());
    for (number, actor) in [(1, "panics"), (2, "hangs"), (3, "works")] {
        stage.bridge.publish(published(actor, number).with_actor(actor)).await.unwrap();
    }
    stage.bridge.publish(support::deprecated("d", 4)).await.unwrap();
    let letters = stage.dead_letters_are(3).await;
    stage.all_answered(Feed::Strat, "broken").await;
    let mut errors: Vec<_> =
        letters.iter().map(|letter| (letter.stream_sequence(), letter.error())).collect();
    errors.sort_unstable();
    let panicked = "handler panicked";
    assert_eq!(errors, [(1, panicked), (2, "handler did not end within 100ms"), (4, panicked)]);
    assert!(letters.iter().all(|letter| letter.reason() == Some(DeadLetterReason::Exhausted)));
    let summary = running.stop().await;
    assert_eq!((summary.retried, summary.exhausted, summary.handled), (3, 3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_can_be_held_leaves_the_server() {
    const BACKLOG: u64 = 20_000;
    const HELD: u32 = 16;
    let stage = Stage::new().await;
    let envelope =
        |number| Envelope::builder(published(&format!("u{number}"), number), source()).build().unwrap();
    let receipts = stage.bridge.publish_all(stream::iter((0..BACKLOG).map(envelope)));
    assert_eq!(receipts.filter(|receipt| std::future::ready(receipt.is_ok())).count().await, 20_000);
    let gate = Arc::new(tokio::sync::Semaphore::new(2000));
    let (handled, opens) = (Arc::new(AtomicU32::new(0)), Arc::clone(&gate));
    let count = Arc::clone(&handled);
    let options = quick().with_max_in_flight(HELD as usize).with_shutdown_grace(Duration::from_millis(100));
    let consumer = stage.consumer("buried").options(options).on(move |_: Delivery<UnitPublished>| {
        let (count, opens) = (Arc::clone(&count), Arc::clone(&opens));
        async move {
            opens.acquire().await?.forget();
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let running = Running::start(consumer.build().await.unwrap());
    let at_server = || async {
        let stream = stage.stream(Feed::Strat).await;
        stream.get_consumer::<pull::Config>("buried").await.unwrap().cached_info().clone()
    };
    let work = || async {
        // In this order: an event that is handled in between makes the difference smaller.
        let delivered = at_server().await.delivered.consumer_sequence;
        let handled = handled.load(Ordering::SeqCst);
        assert!(delivered <= u64::from(handled + HELD), "{delivered} delivered, {handled} handled");
        handled
    };
    eventually("handled", work, |handled| *handled == 2000).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.received), (2000, 2000 + summary.returned));
    // The rest is still pending, and what was given back is delivered again.
    let left = || async {
        let info = at_server().await;
        info.num_pending + u64::try_from(info.num_ack_pending).unwrap()
    };
    eventually("left", left, |left| *left == BACKLOG - 2000).await;
}
