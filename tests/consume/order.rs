//! `Order::PerUnit`: strictly in stream order, across failures, deaths and processes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumeErrorKind, ConsumerBuilder, ConsumerOptions, ConsumerPhase, Delivery, Event, EventBridge, Feed,
    HandlerError, Order, UnitPublished, async_nats,
    dead_letter::DeadLetterReason,
    dedupe::{KvStore, KvStoreOptions},
    testing::{Direction, NatsServer},
};
use support::{Call, Faulty, Running, Stage, eventually, published, quick, test_process};
use tokio::{process::Child, sync::Semaphore};

const URL: &str = "ORDER_TEST_URL";
const UNITS: u64 = 4;

fn options() -> ConsumerOptions {
    quick()
        .with_order(Order::PerUnit)
        .with_processing_timeout(Duration::from_secs(1))
        .with_lease(Duration::from_secs(2))
        .with_ack_wait(Duration::from_secs(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_event_blocks_its_own_unit_until_its_dead_letter() {
    let stage = Stage::since(11).await;
    let runs: Arc<Mutex<Vec<(String, u64, u32)>>> = Arc::default();
    let seen = Arc::clone(&runs);
    // The failing unit waits for the other one, so the test would hang if the other had to wait for the failing one.
    let others_done = Arc::new(AtomicU32::new(0));
    let done = Arc::clone(&others_done);
    let consumer =
        stage.consumer("strict").options(options()).on(move |delivery: Delivery<UnitPublished>| {
            let unit = delivery.event().unit_uri().slug().to_owned();
            seen.lock().unwrap().push((unit.clone(), delivery.sequence(), delivery.attempt()));
            let done = Arc::clone(&done);
            async move {
                if unit == "other" {
                    done.fetch_add(1, Ordering::SeqCst);
                }
                match delivery.event().actor.as_deref() {
                    Some("fails") => {
                        eventually("others", || async { done.load(Ordering::SeqCst) }, |done| *done == 5)
                            .await;
                        Err(HandlerError::retry("as it must"))
                    }
                    _ => Ok(()),
                }
            }
        });
    for number in 1..=5 {
        let event = published("unit", number);
        let event = if number == 3 { event.with_actor("fails") } else { event };
        stage.bridge.publish(event).await.unwrap();
        stage.bridge.publish(published("other", 100 + number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "strict").await;
    let of_unit: Vec<_> =
        runs.lock().unwrap().iter().filter(|run| run.0 == "unit").map(|run| (run.1, run.2)).collect();
    assert_eq!(of_unit, [(1, 1), (3, 1), (5, 1), (5, 2), (5, 3), (7, 1), (9, 1)]);
    let letters = stage.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].stream_sequence(), letters[0].reason()), (5, Some(DeadLetterReason::Exhausted)));
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.exhausted, summary.retried), (9, 1, 0));
}

async fn consumer(url: &str) -> ConsumerBuilder {
    let client = async_nats::connect(url).await.unwrap();
    let store = KvStore::create(
        client.clone(),
        KvStoreOptions::default().with_skew_margin(Duration::from_millis(200)),
    );
    let store = Arc::new(store.await.unwrap());
    EventBridge::new(client, support::source()).consumer("strict", store).options(options())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below in processes of its own"]
async fn child_that_consumes_in_order() {
    let url = std::env::var(URL).expect("the parent names its server");
    let client = async_nats::connect(&url).await.unwrap();
    let consumer = consumer(&url).await.on(move |delivery: Delivery<UnitPublished>| {
        let client = client.clone();
        async move {
            let run = format!(
                "{} {} {} {}",
                delivery.event().unit_uri().slug(),
                delivery.sequence(),
                delivery.attempt(),
                std::process::id()
            );
            client.publish("runs", run.into()).await?;
            client.flush().await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            match delivery.event().actor.as_deref() {
                Some("fails") => Err(HandlerError::retry("as it must")),
                _ => Ok(()),
            }
        }
    });
    let _summary = consumer.build().await.unwrap().run(std::future::pending()).await.unwrap();
}

fn child(url: &str) -> Child {
    test_process("order::child_that_consumes_in_order").env(URL, url).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_killed_in_turns_keep_the_order_per_unit() {
    let stage = Stage::since(11).await;
    let url = stage.server.url().to_owned();
    let runs: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut subscription = stage.client.subscribe("runs").await.unwrap();
    stage.client.flush().await.unwrap();
    let seen = Arc::clone(&runs);
    let collector = tokio::spawn(async move {
        use futures::StreamExt;
        while let Some(run) = subscription.next().await {
            seen.lock().unwrap().push(String::from_utf8(run.payload.to_vec()).unwrap());
        }
    });
    let mut children = HashMap::new();
    for _ in 0..2 {
        let child = child(&url);
        children.insert(child.id().unwrap(), child);
    }
    let total = 400;
    for number in 0..total {
        let event = published(&format!("unit-{}", number % UNITS), number);
        let event = if number == total / 2 { event.with_actor("fails") } else { event };
        stage.bridge.publish(event).await.unwrap();
    }
    let process = |run: &String| run.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    for kill in 1..=3 {
        let many = usize::try_from(total).unwrap() * kill / 5;
        eventually("runs", || async { runs.lock().unwrap().len() }, |runs| *runs > many).await;
        // The pinned process is killed, and another is started.
        let last = || async { runs.lock().unwrap().last().map(process).unwrap() };
        let working = eventually("one that lives works", last, |last| children.contains_key(last)).await;
        children.remove(&working).unwrap().kill().await.unwrap();
        let child = child(&url);
        children.insert(child.id().unwrap(), child);
    }
    stage.all_answered(Feed::Strat, "strict").await;
    collector.abort();
    let runs = runs.lock().unwrap().clone();
    let mut newest: HashMap<&str, (u64, u32)> = HashMap::new();
    for run in &runs {
        let parts: Vec<_> = run.split(' ').collect();
        let (sequence, attempt) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        let before = newest.insert(parts[0], (sequence, attempt)).unwrap_or_default();
        // A run that was killed is repeated, under the same number of attempts.
        assert!((sequence, attempt) >= before, "{run} ran after {before:?} of its unit");
    }
    let mut handled: Vec<u64> =
        runs.iter().map(|run| run.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    handled.sort_unstable();
    handled.dedup();
    assert_eq!(handled, (1..=total).collect::<Vec<_>>());
    assert_eq!(stage.dead_letters().await.len(), 1);
    let mut processes: Vec<_> = runs.iter().map(process).collect();
    processes.dedup();
    assert!(processes.len() >= 4, "{processes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_shuts_down_hands_over_at_once() {
    let stage = Stage::since(11).await;
    let sequences: Arc<Mutex<Vec<u64>>> = Arc::default();
    let may_end = Arc::new(Semaphore::new(10));
    let consumer = || {
        let (sequences, may_end) = (Arc::clone(&sequences), Arc::clone(&may_end));
        // An ack wait that outlasts the test.
        let patient = quick().with_order(Order::PerUnit).with_ack_wait(Duration::from_mins(5));
        stage.consumer("strict").options(patient).on(move |delivery: Delivery<UnitPublished>| {
            sequences.lock().unwrap().push(delivery.sequence());
            let may_end = Arc::clone(&may_end);
            async move {
                may_end.acquire().await.unwrap().forget();
                Ok(())
            }
        })
    };
    let first = consumer().build().await.unwrap();
    let monitor = first.monitor();
    let first = Running::start(first);
    for number in 1..=100 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    eventually("handled", || async { sequences.lock().unwrap().len() }, |handled| *handled == 11).await;
    let second = Running::start(consumer().build().await.unwrap());
    let let_all_end = async {
        let phase = || async { monitor.status().phase() };
        eventually("phase", phase, |phase| *phase == ConsumerPhase::Draining).await;
        may_end.add_permits(100);
    };
    let (first, ()) = tokio::join!(first.stop(), let_all_end);
    stage.all_answered(Feed::Strat, "strict").await;
    let second = second.stop().await;
    assert_eq!(first.handled + second.handled, 100);
    assert!(second.handled > 0, "{second:?}");
    assert_eq!(*sequences.lock().unwrap(), (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_events_wait_for_one_that_was_lost_on_its_way() {
    let stage = Stage::since(11).await;
    let (network, bridge) = stage.through_proxy(Duration::from_secs(1)).await;
    let sequences: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&sequences);
    let consumer = bridge.consumer("strict", stage.store.clone()).options(options());
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.sequence());
        async { Ok(()) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("one", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "strict").await;
    network.swallow(Direction::ToClient);
    stage.bridge.publish(published("one", 2)).await.unwrap();
    let stream = stage.stream(Feed::Strat).await;
    let unanswered = || async { stream.consumer_info("strict").await.unwrap().num_ack_pending };
    eventually("lost", unanswered, |unanswered| *unanswered == 1).await;
    // The client reconnects, and the server has no reason to pin another process.
    network.heal();
    stage.bridge.publish(published("one", 3)).await.unwrap();
    stage.all_answered(Feed::Strat, "strict").await;
    assert_eq!(*sequences.lock().unwrap(), [1, 2, 3]);
    let summary = running.stop().await;
    assert_eq!((summary.received, summary.handled), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_events_wait_for_one_whose_lease_was_lost() {
    let stage = Stage::since(11).await;
    let store = Arc::new(Faulty::default());
    let sequences: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&sequences);
    let consumer = stage.bridge.consumer("strict", store.clone());
    let options = options().with_processing_timeout(Duration::from_hours(1));
    let consumer = consumer.options(options).on(move |delivery: Delivery<UnitPublished>| {
        let mut seen = seen.lock().unwrap();
        seen.push(delivery.sequence());
        let is_first = seen.len() == 1;
        async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    for number in 1..=3 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    let received = || async { (monitor.status().counts().received, sequences.lock().unwrap().len()) };
    eventually("received and begun", received, |found| *found == (3, 1)).await;
    // The store does not answer for longer than the lease, and then takes the attempt back.
    store.is_down(true);
    eventually("handed back", || async { store.calls(Call::Defer) }, |calls| *calls > 0).await;
    store.is_down(false);
    stage.all_answered(Feed::Strat, "strict").await;
    assert_eq!(*sequences.lock().unwrap(), [1, 1, 2, 3]);
    assert_eq!(running.stop().await.handled, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_retry_is_left_to_the_process_after_fail_over() {
    let stage = Stage::since(11).await;
    let attempts: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let consumer = || {
        let attempts = Arc::clone(&attempts);
        stage.consumer("strict").options(options()).on(move |delivery: Delivery<UnitPublished>| {
            attempts.lock().unwrap().push((delivery.sequence(), delivery.attempt()));
            async move {
                match (delivery.sequence(), delivery.attempt()) {
                    // After the end of the test.
                    (1, 1) => Err(HandlerError::retry_after("as it must", Duration::from_mins(10))),
                    _ => Ok(()),
                }
            }
        })
    };
    let first = Running::start(consumer().build().await.unwrap());
    stage.bridge.publish(published("one", 1)).await.unwrap();
    eventually("attempts", || async { attempts.lock().unwrap().len() }, |attempts| *attempts == 1).await;
    let second = Running::start(consumer().build().await.unwrap());
    let stream = stage.stream(Feed::Strat).await;
    let asking = || async { stream.consumer_info("strict").await.unwrap().num_waiting };
    eventually("asking", asking, |asking| *asking == 2).await;
    let subject = format!("CONSUMER.UNPIN.{}.strict", Feed::Strat.stream());
    let group = serde_json::json!({ "group": "stratt" });
    let _unpinned: serde_json::Value = stage.context().request(subject, &group).await.unwrap();
    stage.bridge.publish(published("one", 2)).await.unwrap();
    stage.all_answered(Feed::Strat, "strict").await;
    assert_eq!(*attempts.lock().unwrap(), [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(first.stop().await.handled + second.stop().await.handled, 2);
}

#[tokio::test]
async fn a_server_that_cannot_keep_the_order_is_refused() {
    let server = NatsServer::builder().version("2.10.26").start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), support::source());
    let store = Arc::new(stratt_event_bridge::dedupe::MemoryStore::new());
    let consumer = bridge.consumer("strict", store).options(options());
    let error = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::UnsupportedServer);
}
