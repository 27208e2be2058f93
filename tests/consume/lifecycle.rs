//! Building, changing and stopping a consumer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    AnyEvent, CircuitBreaker, ConsumeErrorKind, ConsumerBuilder, ConsumerOptions, Delivery, Feed,
    UnitDeprecated, UnitPublished,
    dedupe::{KvStore, KvStoreOptions},
    topology::DEAD_LETTER_STREAM,
};
use support::{Running, Stage, eventually, published, quick};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn with_handler(builder: ConsumerBuilder) -> ConsumerBuilder {
    builder.on(|_: Delivery<UnitPublished>| async { Ok(()) })
}

async fn refused(builder: ConsumerBuilder, kind: ConsumeErrorKind, says: &str) {
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error} does not say {says:?}");
}

#[tokio::test]
async fn bad_configuration_is_refused_and_says_what_to_change() {
    use ConsumeErrorKind::{InvalidHandlers, InvalidName, InvalidOptions};
    let stage = Stage::new().await;
    let (options, breaker) = (ConsumerOptions::default, CircuitBreaker::default);
    for (options, says) in [
        (options().with_lease(Duration::from_millis(99)), "lengthen it, so that it can be renewed"),
        (options().with_processing_timeout(Duration::ZERO), "processing timeout is zero"),
        (options().with_ack_wait(39 * SECOND), "lengthen the ack wait"),
        (options().with_processing_timeout(Duration::MAX), "shorten it"),
        (
            options().with_circuit_breaker(breaker().with_failures(0)),
            "circuit breaker opens after 0 failures",
        ),
        (options().with_circuit_breaker(breaker().with_events(11)), "choose 1 to 10"),
        (options().with_circuit_breaker(breaker().with_probe_interval(Duration::ZERO)), "interval"),
        (options().with_ack_wait(Duration::MAX), "shorten it"),
        (options().with_max_in_flight(0), "max in flight is zero"),
        (options().with_max_attempts(0), "max attempts is zero"),
        (options().with_retry_delays([]), "retry delays are empty"),
        (options().with_max_envelope_bytes(0), "max envelope bytes is zero"),
    ] {
        refused(with_handler(stage.consumer("c").options(options)), InvalidOptions, says).await;
    }
    refused(stage.consumer("c"), InvalidHandlers, "no handler").await;
    let twice = with_handler(stage.consumer("c")).on(|_: Delivery<AnyEvent>| async { Ok(()) });
    refused(twice, InvalidHandlers, "two handlers for unit.published").await;
    for name in ["", "a.b", "a b", "*"] {
        refused(with_handler(stage.consumer(name)), InvalidName, "consumer name").await;
    }
    assert!(stage.stream(Feed::Strat).await.consumer_info("c").await.is_err());
}

#[tokio::test]
async fn a_store_that_forgets_too_soon_is_refused_unless_allowed() {
    let stage = Stage::new().await;
    let short = KvStoreOptions::default().with_retention(60 * SECOND);
    let store = Arc::new(KvStore::create(stage.client.clone(), short).await.unwrap());
    let builder = || with_handler(stage.bridge.consumer("c", store.clone()));
    refused(builder(), ConsumeErrorKind::StoreRetention, "with_short_store_retention").await;
    drop(builder().options(quick().with_short_store_retention(true)).build().await.unwrap());
}

#[tokio::test]
async fn missing_streams_are_named() {
    let stage = Stage::new().await;
    for stream in [DEAD_LETTER_STREAM, Feed::Choco.stream()] {
        stage.context().delete_stream(stream).await.unwrap();
        let builder = with_handler(stage.consumer("c").feed(Feed::Choco));
        refused(builder, ConsumeErrorKind::StreamNotFound, stream).await;
    }
}

#[tokio::test]
async fn filters_follow_from_handlers_and_domains() {
    let stage = Stage::new().await;
    let filters = |name: &'static str| {
        let stage = &stage;
        async move {
            let stream = stage.stream(Feed::Choco).await;
            let config = stream.consumer_info(name).await.unwrap().config;
            let mut filters = config.filter_subjects;
            filters.extend(Some(config.filter_subject).filter(|filter| !filter.is_empty()));
            filters.sort();
            filters
        }
    };
    drop(with_handler(stage.consumer("one").feed(Feed::Choco)).build().await.unwrap());
    assert_eq!(filters("one").await, ["choco.redrive.one.*.unit.published", "choco.strat.*.unit.published"]);
    let two = with_handler(stage.consumer("two").feed(Feed::Choco))
        .on(|_: Delivery<UnitDeprecated>| async { Ok(()) });
    let two =
        two.domain("dev".parse().unwrap()).domain("core".parse().unwrap()).domain("dev".parse().unwrap());
    drop(two.build().await.unwrap());
    assert_eq!(
        filters("two").await,
        [
            "choco.redrive.two.core.unit.deprecated",
            "choco.redrive.two.core.unit.published",
            "choco.redrive.two.dev.unit.deprecated",
            "choco.redrive.two.dev.unit.published",
            "choco.strat.core.unit.deprecated",
            "choco.strat.core.unit.published",
            "choco.strat.dev.unit.deprecated",
            "choco.strat.dev.unit.published"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_lets_handlers_end_and_gives_the_rest_back() {
    let stage = Stage::new().await;
    let (started, release) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let (count, gate) = (Arc::clone(&started), Arc::clone(&release));
    let consumer = stage.consumer("leaving").on(move |_: Delivery<UnitPublished>| {
        let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    // Ten of one unit and one of another: two run, nine wait for their lane.
    for number in 1..=10 {
        stage.bridge.publish(published("queued", number)).await.unwrap();
    }
    stage.bridge.publish(published("other", 11)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 2).await;
    let stopping = tokio::spawn(running.stop());
    // The nine are given back while the two still run: another consumer gets them well before the ack wait.
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let next = stage.consumer("leaving").on(move |delivery: Delivery<UnitPublished>| {
        assert_eq!(delivery.attempt(), 1, "what was not started cost an attempt");
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let next = Running::start(next.build().await.unwrap());
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 9).await;
    release.add_permits(2);
    let summary = stopping.await.unwrap();
    assert_eq!((summary.received, summary.handled, summary.returned), (11, 2, 9));
    stage.all_answered(Feed::Strat, "leaving").await;
    assert_eq!(next.stop().await.handled, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_outlast_the_grace_give_their_events_back() {
    let stage = Stage::new().await;
    let started = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&started);
    let options = quick().with_shutdown_grace(Duration::from_millis(100));
    let stubborn =
        stage.consumer("stubborn").options(options).on(move |delivery: Delivery<UnitPublished>| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                if delivery.attempt() == 1 {
                    sleep(3600 * SECOND).await;
                }
                Ok(())
            }
        });
    let again = Arc::clone(&started);
    let heir = stage.consumer("stubborn").on(move |_: Delivery<UnitPublished>| {
        again.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let running = Running::start(stubborn.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 1).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.returned), (0, 1));
    // Released, not left to its lease of 40 s.
    let begun = Instant::now();
    let heir = Running::start(heir.build().await.unwrap());
    stage.all_answered(Feed::Strat, "stubborn").await;
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(heir.stop().await.handled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_although_the_server_is_away() {
    let mut stage = Stage::new().await;
    let started = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&started);
    let options = quick().with_shutdown_grace(Duration::from_millis(100));
    let consumer = stage.consumer("alone").options(options).on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    for number in 1..=3 {
        stage.bridge.publish(published("queued", number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 1).await;
    stage.server.kill();
    let summary = tokio::time::timeout(support::DEADLINE, running.stop()).await.expect("it does not end");
    assert_eq!((summary.handled, summary.returned), (0, 3));
}
