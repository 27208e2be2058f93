//! A durable that an operator has paused.

use std::time::Duration;
use stratt_event_bridge::{ConsumerPhase, ConsumerStatus, Delivery, Feed, UnitPublished};
use support::{Log, Metrics, Running, Stage, eventually, published};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Pauses the durable for so long; zero ends a pause.
async fn pause(stage: &Stage, durable: &str, length: Duration) {
    let until = (OffsetDateTime::now_utc() + length).format(&Rfc3339).unwrap();
    let body =
        if length.is_zero() { serde_json::json!({}) } else { serde_json::json!({ "pause_until": until }) };
    let subject = format!("CONSUMER.PAUSE.{}.{durable}", Feed::Strat.stream());
    let answer: serde_json::Value = stage.context().request(subject, &body).await.unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
}

// On one thread, so that the log has the consumer's lines.
#[tokio::test]
async fn a_pause_is_a_phase_with_an_end_and_is_logged_once() {
    let (log, metrics) = (Log::listen(), Metrics::listen());
    let gauge = || metrics.value(r#"stratt_consumer_paused_seconds{consumer="paused"}"#);
    let stage = Stage::since(11).await;
    let consumer = stage.consumer("paused").on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    let now = || async { monitor.status() };
    let hour = Duration::from_hours(1);
    pause(&stage, "paused", hour).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer);
    // The server counts what is pending a moment after it has stored it.
    let is_paused =
        |status: &ConsumerStatus| status.phase() == ConsumerPhase::Paused && status.pending() == Some(1);
    let status = eventually("paused", now, is_paused).await;
    assert!(!status.is_working());
    assert!(status.pause_remaining().is_some_and(|left| left <= hour && left > hour / 2));
    assert!(gauge() > 1800.0 && gauge() <= 3600.0, "{}", gauge());

    pause(&stage, "paused", Duration::ZERO).await;
    stage.all_answered(Feed::Strat, "paused").await;
    let status = eventually("working", now, ConsumerStatus::is_working).await;
    assert_eq!((status.phase(), status.pause_remaining()), (ConsumerPhase::Running, None));
    assert!(gauge() < 0.5, "{}", gauge());
    // The durable was inspected more than once.
    pause(&stage, "paused", hour).await;
    eventually("paused", now, |status| status.phase() == ConsumerPhase::Paused).await;
    assert_eq!((log.count("durable is paused"), log.count("durable is no longer paused")), (2, 1));
    assert_eq!(running.stop().await.handled, 1);
}
