//! Spans: one for each publish, delivery, answer and dead letter, with the attributes of the conventions.

use async_nats::ConnectOptions;
use futures::{StreamExt, stream};
use std::time::Duration;
use stratt_event_bridge::{
    BatchOptions, BridgeOptions, Delivery, Envelope, EventBridge, Feed, HandlerError, UnitPublished,
    async_nats,
};
use support::{Running, Spans, Stage, eventually, published, source};
use tokio::time::sleep;

const PUBLISHED: &str = "strat.dev.unit.published";
const FORWARDED: &str = "choco.strat.dev.unit.published";

#[tokio::test]
async fn a_publish_span_says_what_was_sent_and_if_it_was_known() {
    let spans = Spans::listen();
    let stage = Stage::new().await;
    let envelope = Envelope::builder(published("a", 1), source()).build().unwrap();
    let stored = stage.bridge.publish_envelope(&envelope).await.unwrap();
    stage.bridge.publish_envelope(&envelope).await.unwrap();
    let again = stream::iter([envelope.clone(), envelope.clone()]);
    assert_eq!(stage.bridge.publish_all(again).filter(|r| std::future::ready(r.is_ok())).count().await, 2);
    let key = envelope.idempotency_key().to_string();
    let client_id = stage.client.server_info().client_id.to_string();
    let bytes = envelope.encode().unwrap().len().to_string();
    let found = spans.of("publish");
    assert_eq!(found.len(), 4);
    for (number, span) in found.iter().enumerate() {
        span.says(&[
            ("otel.name", "publish strat.dev.unit.published"),
            ("otel.kind", "producer"),
            ("otel.status_code", ""),
            ("messaging.system", "nats"),
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", PUBLISHED),
            ("messaging.message.id", &key),
            ("messaging.message.body.size", &bytes),
            ("messaging.client.id", &client_id),
            ("stratt.stream", "STRATT_EVENTS"),
            ("stratt.sequence", &stored.sequence().to_string()),
            ("stratt.duplicate", if number == 0 { "false" } else { "true" }),
            ("error.type", ""),
        ]);
    }
}

#[tokio::test]
async fn a_publish_that_fails_says_why_in_one_word() {
    let spans = Spans::listen();
    let stage = Stage::new().await;
    let client = ConnectOptions::new().connect(stage.server.url()).await.unwrap();
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(100))
        .with_retry_budget(Duration::from_millis(200));
    let bridge = EventBridge::with_options(client, source(), options);
    stage.context().delete_stream("STRATT_EVENTS").await.unwrap();
    bridge.publish(published("a", 1)).await.unwrap_err();
    let envelope = Envelope::builder(published("b", 2), source()).build().unwrap();
    Box::pin(bridge.publish_all(stream::iter([envelope]))).next().await.unwrap().unwrap_err();
    let failed = [("error.type", "stream_not_found"), ("otel.status_code", "error"), ("stratt.sequence", "")];
    let found = spans.of("publish");
    assert_eq!(found.len(), 2);
    for span in &found {
        span.says(&failed);
    }
}

#[tokio::test]
async fn a_batch_is_one_span() {
    let spans = Spans::listen();
    let stage = Stage::on_newest().await;
    let batch = stage.bridge.publish_batch(&envelopes()).await;
    let found = spans.of("publish");
    assert_eq!(found.len(), 1);
    found[0].says(&[
        ("otel.name", "publish STRATT_EVENTS"),
        ("messaging.operation.type", "send"),
        ("messaging.batch.message_count", "3"),
        // The streams of the stage do not allow batches.
        ("error.type", if batch.is_ok() { "" } else { "unsupported" }),
    ]);
}

fn envelopes() -> Vec<Envelope<UnitPublished>> {
    (1..=3).map(|number| Envelope::builder(published("a", number), source()).build().unwrap()).collect()
}

/// Runs a consumer with events of every outcome until all are answered.
async fn run(stage: &Stage) {
    let builder = stage.consumer("c").feed(Feed::Choco).on(|d: Delivery<UnitPublished>| async move {
        match d.event().uri.slug() {
            "flaky" if d.attempt() == 1 => Err(HandlerError::retry("not yet")),
            "slow" => {
                sleep(Duration::from_mins(1)).await;
                Ok(())
            }
            "panics" => panic!("as it must"),
            "poison" => Err(HandlerError::reject("never")),
            _ => Ok(()),
        }
    });
    let options = support::short().with_processing_timeout(Duration::from_millis(100));
    let running = Running::start(builder.options(options.with_max_attempts(2)).build().await.unwrap());
    stage.all_answered(Feed::Choco, "c").await;
    running.stop().await;
}

#[tokio::test]
async fn every_delivery_and_answer_has_a_span_with_its_outcome() {
    let spans = Spans::listen();
    let stage = Stage::new().await;
    let envelope = Envelope::builder(published("fine", 1), source()).build().unwrap();
    stage.bridge.publish_envelope(&envelope).await.unwrap();
    for (slug, number) in [("flaky", 2), ("slow", 3), ("panics", 4), ("poison", 5)] {
        stage.bridge.publish(published(slug, number)).await.unwrap();
    }
    let context = stage.context();
    // The same event once more, without the message id by which the broker would drop it, and a message that is no
    // event.
    for bytes in [envelope.encode().unwrap(), b"[]".to_vec()] {
        context.publish(PUBLISHED, bytes.into()).await.unwrap().await.unwrap();
    }
    let forwarded = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", forwarded, |messages| *messages == 7).await;
    run(&stage).await;
    let key = envelope.idempotency_key().to_string();
    let mut fates: Vec<_> = spans
        .of("process")
        .iter()
        .map(|span| {
            let is_invalid = span.get("stratt.sequence") == "7";
            span.says(&[
                (
                    "otel.name",
                    if is_invalid {
                        "process CHOCO_STRATT"
                    } else {
                        "process choco.strat.dev.unit.published"
                    },
                ),
                ("otel.kind", "consumer"),
                ("messaging.system", "nats"),
                ("messaging.operation.name", "process"),
                ("messaging.operation.type", "process"),
                ("messaging.destination.name", FORWARDED),
                ("messaging.consumer.group.name", "c"),
                ("stratt.stream", "CHOCO_STRATT"),
                ("otel.status_code", if span.get("error.type").is_empty() { "" } else { "error" }),
            ]);
            assert_eq!(span.get("messaging.message.id").is_empty(), is_invalid);
            let said = ["stratt.sequence", "stratt.attempt", "stratt.outcome", "error.type"];
            said.map(|field| span.get(field).to_owned()).join(" ").trim().to_owned()
        })
        .collect();
    fates.sort();
    assert_eq!(
        fates,
        [
            "1 1 handled",
            "2 1 retried handler_error",
            "2 2 handled",
            "3 1 retried timeout",
            "3 2 dead_lettered timeout",
            "4 1 retried panic",
            "4 2 dead_lettered panic",
            "5 1 dead_lettered rejected",
            "6 0 duplicate",
            "7 0 dead_lettered invalid",
        ]
    );
    let handled = &spans.of("process")[0];
    handled.says(&[("messaging.message.id", &key), ("stratt.deliveries", "1"), ("stratt.sequence", "1")]);

    // The documentation has each attribute.
    let page = include_str!("../../src/docs/observing.md");
    for span in spans.all() {
        for field in span.fields.keys().filter(|field| !field.starts_with("otel.")) {
            assert!(page.contains(&format!("`{field}`")), "{field}");
        }
        assert!(page.contains(&format!("| `{}` |", span.kind)), "{}", span.kind);
    }
    let answers = spans.of("settle");
    assert_eq!(answers.len(), fates.len());
    for (verb, count) in [("ack", 3), ("nak", 3), ("term", 4)] {
        let of_verb = answers.iter().filter(|span| span.get("messaging.operation.name") == verb);
        assert_eq!(of_verb.count(), count, "{verb}");
    }
    for span in answers {
        assert_eq!(span.within, Some("process"));
        let verb = span.get("messaging.operation.name");
        span.says(&[
            ("otel.name", &format!("{verb} CHOCO_STRATT")),
            ("otel.kind", "client"),
            ("messaging.system", "nats"),
            ("messaging.operation.type", "settle"),
            ("messaging.destination.name", FORWARDED),
            ("messaging.consumer.group.name", "c"),
        ]);
    }
}

#[tokio::test]
async fn each_call_of_a_batch_handler_is_one_span() {
    let spans = Spans::listen();
    let stage = Stage::new().await;
    for (slug, number) in [("one", 1), ("two", 2), ("three", 3), ("bad", 4)] {
        stage.bridge.publish(published(slug, number)).await.unwrap();
    }
    let options = BatchOptions::default().with_max_events(4).with_max_wait(Duration::from_secs(5));
    let consumer =
        stage.consumer("batches").on_batch(options, |batch: Vec<Delivery<UnitPublished>>| async move {
            if batch.iter().any(|delivery| delivery.event().uri.slug() == "bad") {
                return Err(HandlerError::reject("one of them"));
            }
            Ok(())
        });
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "batches").await;
    running.stop().await;
    let mut calls = spans.of("process");
    calls.retain(|span| !span.get("messaging.batch.message_count").is_empty());
    let mut seen: Vec<_> = calls
        .iter()
        .map(|call| (call.get("messaging.batch.message_count"), call.links, call.get("error.type")))
        .collect();
    seen.sort_unstable();
    // All four, then both halves, then the halves of the one with the bad event.
    let (fine, failed) = ("", "handler_error");
    assert_eq!(seen, [("1", 1, fine), ("1", 1, failed), ("2", 2, fine), ("2", 2, failed), ("4", 4, failed)]);
    for call in &calls {
        call.says(&[
            ("messaging.consumer.group.name", "batches"),
            ("otel.name", "process STRATT_EVENTS"),
            ("otel.kind", "consumer"),
        ]);
        assert!(call.within.is_none(), "{call:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_span_says_why_and_a_redrive_is_a_publish() {
    let spans = Spans::listen();
    let stage = Stage::new().await;
    stage.bridge.publish(published("poison", 1)).await.unwrap();
    let forwarded = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", forwarded, |messages| *messages == 1).await;
    run(&stage).await;
    let found = spans.of("dead_letter");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].within, Some("process"));
    found[0].says(&[
        ("otel.name", "dead_letter stratt.dlq.c.dev.unit.published"),
        ("otel.kind", "client"),
        ("otel.status_code", ""),
        ("messaging.system", "nats"),
        ("messaging.operation.name", "dead_letter"),
        ("messaging.operation.type", "settle"),
        ("messaging.destination.name", "stratt.dlq.c.dev.unit.published"),
        ("messaging.message.id", "CHOCO_STRATT:1:c"),
        ("messaging.consumer.group.name", "c"),
        ("stratt.stream", "CHOCO_STRATT"),
        ("stratt.sequence", "1"),
        ("stratt.dead_letter.reason", "rejected"),
        ("error.type", ""),
    ]);
    let letter = stage.dead_letters_are(1).await[0].sequence();
    stage.bridge.dead_letters().redrive(letter).await.unwrap();
    let publishes = spans.of("publish");
    let within: Vec<_> =
        publishes.iter().map(|span| (span.get("messaging.destination.name"), span.within)).collect();
    let letter = ("stratt.dlq.c.dev.unit.published", Some("dead_letter"));
    let redriven = ("stratt.redrive.c.dev.unit.published", None);
    assert_eq!(within, [(PUBLISHED, None), letter, redriven]);
    assert!(publishes[2].get("messaging.message.id").ends_with(":redrive:1"));
}
