//! Requests for messages, and the number of messages that is held.

use async_nats::jetstream::consumer::pull;
use futures::{StreamExt, stream};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{ConsumerMonitor, Delivery, Envelope, Feed, UnitPublished};
use support::{Running, Stage, eventually, published, quick, source};

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

/// Publishes an event of each unit of these numbers.
async fn publish(stage: &Stage, numbers: std::ops::Range<u64>) {
    let envelope =
        |number| Envelope::builder(published(&format!("u{number}"), number), source()).build().unwrap();
    let receipts = stage.bridge.publish_all(stream::iter(numbers.clone().map(envelope)));
    let stored = receipts.filter(|receipt| std::future::ready(receipt.is_ok())).count().await as u64;
    assert_eq!(stored, numbers.end - numbers.start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_counts_what_the_open_one_lacks() {
    let stage = Stage::new().await;
    let consumer = stage.consumer("ahead").options(quick().with_max_in_flight(8).with_max_prefetch(8));
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
async fn no_more_than_can_be_held_leaves_the_server() {
    const BACKLOG: u64 = 20_000;
    const HELD: u32 = 64;
    let stage = Stage::new().await;
    publish(&stage, 0..BACKLOG).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(2000));
    let (handled, opens) = (Arc::new(AtomicU32::new(0)), Arc::clone(&gate));
    let count = Arc::clone(&handled);
    let options = quick().with_max_in_flight(16).with_max_prefetch(HELD as usize);
    let options = options.with_shutdown_grace(Duration::from_millis(100));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_handlers_hold_more_than_run_at_once() {
    let stage = Stage::new().await;
    let consumer = stage.consumer("ahead").options(quick().with_max_in_flight(8));
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap();
    let sizes = requests(&stage, "ahead").await;
    publish(&stage, 0..5_000).await;
    let running = Running::start(consumer);
    stage.all_answered(Feed::Strat, "ahead").await;
    assert_eq!(running.stop().await.handled, 5_000);
    let sizes = sizes.lock().unwrap();
    assert!(sizes[0] == 8 && sizes.iter().max() > Some(&40), "{sizes:?}");
    assert!(sizes.iter().max() <= Some(&1_024), "{sizes:?}");
}

/// Starts a consumer whose handlers take this long for events from this number on.
async fn slow_from(stage: &Stage, number: u64, time: Duration) -> (Running, ConsumerMonitor) {
    let consumer = stage.consumer("shared").options(quick().with_max_in_flight(8));
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| async move {
        assert_eq!(delivery.attempt(), 1, "what waited cost an attempt");
        if delivery.sequence() >= number {
            tokio::time::sleep(time).await;
        }
        Ok(())
    });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    (Running::start(consumer), monitor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handlers_leave_half_of_the_work_to_another_process() {
    let stage = Stage::new().await;
    let (first, _) = slow_from(&stage, 0, Duration::from_millis(100)).await;
    let (second, _) = slow_from(&stage, 0, Duration::from_millis(100)).await;
    publish(&stage, 0..400).await;
    stage.all_answered(Feed::Strat, "shared").await;
    let (first, second) = (first.stop().await.handled, second.stop().await.handled);
    assert_eq!(first + second, 400);
    assert!(first.abs_diff(second) <= 40, "{first} and {second}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_become_slow_give_back_what_waits() {
    let stage = Stage::new().await;
    publish(&stage, 0..3_000).await;
    let (first, monitor) = slow_from(&stage, 2_941, Duration::from_secs(1)).await;
    eventually("returned", || async { monitor.status().counts().returned }, |returned| *returned > 0).await;
    let (second, _) = slow_from(&stage, 2_941, Duration::from_secs(1)).await;
    stage.all_answered(Feed::Strat, "shared").await;
    let (first, second) = (first.stop().await.handled, second.stop().await.handled);
    assert_eq!(first + second, 3_000);
    assert!(second >= 10, "{first} and {second}");
}
