//! Metrics: what is published, handled, skipped, retried and dead-lettered is counted, once each.

use futures::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    BridgeOptions, CircuitBreaker, Delivery, Envelope, EventBridge, Feed, HandlerError, Order, UnitPublished,
    dead_letter::DeadLetterReason,
    outbox::OutboxOptions,
    topology::{ForwardingOptions, Topology},
};
use support::{Faulty, Metrics, Outbox, Running, Stage, eventually, published, quick, source, sqlite_pool};
use tokio::{sync::Semaphore, time::sleep};

const EMITTED: &str = r#"stratt_events_emitted_total{event_type="unit.published",outcome="#;

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

#[tokio::test]
async fn every_publish_is_counted_by_its_outcome_and_timed() {
    let metrics = Metrics::listen();
    let stage = Stage::on_newest().await;
    stage.bridge.provision(&Topology::default().with_batches(true)).await.unwrap();
    let began = Instant::now();
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let all = stage.bridge.publish_all(stream::iter([envelope("b", 2), envelope("b", 2), envelope("c", 3)]));
    assert_eq!(all.count().await, 3);
    stage.bridge.publish_batch(&[envelope("c", 3), envelope("d", 4), envelope("d", 4)]).await.unwrap();
    stage.context().delete_stream("STRATT_EVENTS").await.unwrap();
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(100))
        .with_retry_budget(Duration::from_millis(200));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    bridge.publish(published("e", 5)).await.unwrap_err();
    let (proxy, bridge) = stage.through_proxy(Duration::from_millis(100)).await;
    drop(proxy);
    let bridge = EventBridge::with_options(bridge.client().clone(), source(), options);
    assert!(bridge.publish(published("f", 6)).await.unwrap_err().is_outcome_unknown());

    for (outcome, count) in [("stored", 4.0), ("duplicate", 4.0), ("failed", 1.0), ("unknown", 1.0)] {
        metrics.says(&[(&format!("{EMITTED}{outcome:?}}}"), count)]);
    }
    metrics.says(&[(r#"stratt_duplicates_total{consumer="",cause="broker"}"#, 4.0)]);
    // A batch is timed as a whole.
    for (outcome, count) in [("stored", 4), ("duplicate", 2), ("failed", 1), ("unknown", 1)] {
        let samples = metrics.samples(&format!("stratt_publish_duration_seconds{{outcome={outcome:?}}}"));
        assert_eq!(samples.len(), count, "{outcome}");
        assert!(samples.iter().all(|s| *s > 0.0 && *s <= began.elapsed().as_secs_f64()), "{samples:?}");
    }
}

#[tokio::test]
async fn every_delivery_is_counted_by_what_became_of_it() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let passed = gate.clone();
    let builder = stage.consumer("c").feed(Feed::Choco).on(move |d: Delivery<UnitPublished>| {
        let gate = passed.clone();
        async move {
            gate.acquire().await?.forget();
            match d.event().uri.slug() {
                "flaky" if d.attempt() == 1 => Err(HandlerError::retry("not yet")),
                "hopeless" => Err(HandlerError::retry("never yet")),
                "poison" => Err(HandlerError::reject("never")),
                _ => Ok(()),
            }
        }
    });
    let running = Running::start(builder.build().await.unwrap());
    let fine = envelope("fine", 1);
    stage.bridge.publish_envelope(&fine).await.unwrap();
    let in_flight = r#"stratt_in_flight{consumer="c"}"#;
    eventually("in flight", || async { metrics.value(in_flight) }, |held| *held > 0.5).await;
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    for (slug, number) in [("flaky", 2), ("hopeless", 3), ("poison", 4)] {
        stage.bridge.publish(published(slug, number)).await.unwrap();
    }
    // The same event once more, without the message id by which the broker would drop it, and a message that is no
    // event.
    for bytes in [fine.encode().unwrap(), b"[]".to_vec()] {
        stage.context().publish(fine.subject(), bytes.into()).await.unwrap().await.unwrap();
    }
    let letters = stage.dead_letters_are(3).await;
    stage.all_answered(Feed::Choco, "c").await;
    let rejected = letters.iter().find(|letter| letter.reason() == Some(DeadLetterReason::Rejected)).unwrap();
    stage.bridge.dead_letters().redrive(rejected.sequence()).await.unwrap();
    stage.dead_letters_are(3).await;
    let stored = || async { metrics.value("stratt_dead_letters_stored{}") };
    eventually("dead letters", stored, |stored| (stored - 3.0).abs() < f64::EPSILON).await;
    let summary = running.stop().await;
    metrics.says(&[
        (r#"stratt_events_received_total{consumer="c"}"#, summary.received as f64),
        (r#"stratt_events_handled_total{consumer="c"}"#, 2.0),
        (r#"stratt_duplicates_total{consumer="c",cause="settled"}"#, 1.0),
        (r#"stratt_unsettled_total{consumer="c",cause="postponed"}"#, 0.0),
        (r#"stratt_unsettled_total{consumer="c",cause="abandoned"}"#, 0.0),
        (r#"stratt_dead_letters_total{consumer="c",reason="parked"}"#, 0.0),
        (r#"stratt_store_up{consumer="c"}"#, 1.0),
        (in_flight, 0.0),
    ]);
    assert_eq!((summary.handled, summary.duplicates), (2, 1));
    let letters =
        |reason| metrics.value(&format!("stratt_dead_letters_total{{consumer=\"c\",reason={reason:?}}}"));
    // The rejected one twice: it was redriven.
    for (reason, count) in [("exhausted", 1.0), ("rejected", 2.0), ("invalid", 1.0)] {
        assert!((letters(reason) - count).abs() < f64::EPSILON, "{reason}");
    }
    let retries = metrics.value(r#"stratt_retries_total{consumer="c"}"#);
    assert!((retries - summary.retried as f64).abs() < f64::EPSILON && retries > 2.5);
    metrics.value(r#"stratt_consumer_pending{consumer="c"}"#);
    let handler = r#"stratt_handler_duration_seconds{consumer="c",event_type="unit.published",outcome="#;
    assert!(!metrics.samples(&format!("{handler}\"error\"}}")).is_empty());
    // Cardinality is bounded: no label has the content of an event.
    let names = metrics.names();
    for secret in ["strat://", "fine", "dev", &fine.idempotency_key().to_string()] {
        assert!(!names.iter().any(|name| name.contains(secret)), "{secret} in {names:#?}");
    }
}

#[tokio::test]
async fn retries_in_place_are_counted_too() {
    let metrics = Metrics::listen();
    let stage = Stage::on_newest().await;
    let builder = stage.consumer("ordered").on(|d: Delivery<UnitPublished>| async move {
        if d.attempt() == 1 { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    });
    let running = Running::start(builder.options(quick().with_order(Order::PerUnit)).build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "ordered").await;
    running.stop().await;
    metrics.says(&[
        (r#"stratt_retries_total{consumer="ordered"}"#, 1.0),
        (r#"stratt_consumer_pinned_total{consumer="ordered"}"#, 1.0),
        (r#"stratt_events_handled_total{consumer="ordered"}"#, 1.0),
    ]);
}

#[tokio::test]
async fn an_open_circuit_breaker_is_seen() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = is_away.clone();
    let builder = stage.consumer("b").on(move |_: Delivery<UnitPublished>| {
        let away = away.load(Ordering::SeqCst);
        async move { if away { Err(HandlerError::defer("away")) } else { Ok(()) } }
    });
    let breaker = CircuitBreaker::default().with_probe_interval(Duration::from_millis(100));
    let running =
        Running::start(builder.options(quick().with_circuit_breaker(breaker)).build().await.unwrap());
    let name = r#"stratt_circuit_breaker_open{consumer="b",event_type="unit.published"}"#;
    let open = || async { metrics.value(name) };
    eventually("closed", open, |open| *open < 0.5).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("open", open, |open| *open > 0.5).await;
    is_away.store(false, Ordering::SeqCst);
    eventually("closed", open, |open| *open < 0.5).await;
    stage.all_answered(Feed::Strat, "b").await;
    let summary = running.stop().await;
    let deferred = metrics.value(r#"stratt_unsettled_total{consumer="b",cause="deferred"}"#);
    assert!(deferred > 0.5 && summary.deferred > 0, "{deferred} {summary:?}");
}

#[tokio::test]
async fn lag_and_a_store_that_is_down_are_seen() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    store.is_down(true);
    let builder = stage.bridge.consumer("late", store.clone()).options(quick().with_max_in_flight(1));
    let builder = builder.on(|_: Delivery<UnitPublished>| async { Ok(()) });
    for number in 1..=5 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    let running = Running::start(builder.build().await.unwrap());
    let seen = || async {
        let up = metrics.value(r#"stratt_store_up{consumer="late"}"#);
        (up, metrics.value(r#"stratt_consumer_pending{consumer="late"}"#))
    };
    let down = |(up, pending): &(f64, f64)| *up < 0.5 && (4.0..=5.0).contains(pending);
    eventually("down", seen, down).await;
    store.is_down(false);
    eventually("caught up", seen, |(up, pending)| *up > 0.5 && *pending < 0.5).await;
    running.stop().await;
}

#[tokio::test]
async fn the_backlog_of_an_outbox_is_measured() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    stage.context().delete_stream("STRATT_EVENTS").await.unwrap();
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let metrics = Metrics::listen();
        outbox.enqueue(&[envelope("a", 1), envelope("b", 2)], true).await;
        sleep(Duration::from_millis(5)).await;
        let relaying = outbox.relay(&stage.bridge);
        let seen = || async {
            let of =
                |name: &str| metrics.find(&format!("{name}{{outbox=\"stratt_outbox\"}}")).unwrap_or_default();
            (of("stratt_outbox_pending"), of("stratt_outbox_oldest_seconds"))
        };
        eventually("backlog", seen, |(pending, age)| *pending > 1.5 && *age > 0.0).await;
        metrics.says(&[(r#"stratt_outbox_quarantined{outbox="stratt_outbox"}"#, 0.0)]);
        relaying.abort();
    }
}

#[tokio::test]
async fn the_documentation_lists_every_metric_with_its_labels() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    drop(stage.bridge.watch_forwarding(ForwardingOptions::default()));
    let builder = stage.consumer("c").on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let running = Running::start(builder.build().await.unwrap());
    stage.context().publish("strat.dev.unit.published", "[]".into()).await.unwrap().await.unwrap();
    stage.dead_letters_are(1).await;
    let outbox = Outbox::sqlite(sqlite_pool().await, OutboxOptions::default()).await;
    let relaying = outbox.relay(&stage.bridge);
    let made = || async { metrics.find(r#"stratt_outbox_pending{outbox="stratt_outbox"}"#) };
    eventually("meter of the outbox", made, Option::is_some).await;
    relaying.stop().await;
    running.stop().await;
    let page = include_str!("../../src/docs/observing.md");
    let rows: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `stratt_")?.split_once("` | "))
        .map(|(name, row)| (format!("stratt_{name}"), row))
        .collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), metrics.described());
    for series in metrics.names() {
        let (name, labels) = series.split_once('{').unwrap();
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        for (label, _) in labels {
            assert!(rows[name].contains(&format!("`{label}`")), "{label} of {name}");
        }
    }
}
