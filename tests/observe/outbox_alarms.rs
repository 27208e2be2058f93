//! Faults of an outbox, and the series of metrics that they leave: in each only the alert of its fault may fire.

use crate::timeline::Timeline;
use std::time::Duration;
use stratt_event_bridge::{
    Envelope, UnitPublished,
    outbox::OutboxOptions,
    topology::{EVENT_STREAM, Topology},
};
use support::{Metrics, Outbox, Stage, eventually, published, source, sqlite_pool};

/// The time of a sample, which is a minute for the rules.
const EVERY: Duration = Duration::from_millis(100);

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("unit", number), source()).build().unwrap()
}

async fn outbox() -> Outbox {
    Outbox::sqlite(sqlite_pool().await, OutboxOptions::default()).await
}

/// Waits until a gauge of the outbox, which the relay sets every 10 s, is as wanted.
async fn gauge(metrics: &Metrics, name: &str, wanted: impl Fn(f64) -> bool) {
    let gauge = format!("{name}{{outbox=\"stratt_outbox\"}}");
    let look = || async { metrics.find(&gauge).unwrap_or(-1.0) };
    eventually(name, look, |value| wanted(*value)).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_published_leaves_its_series() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    let outbox = outbox().await;
    let relaying = outbox.relay(&stage.bridge);
    gauge(&metrics, "stratt_outbox_oldest_seconds", |age| age.abs() < f64::EPSILON).await;
    let mut timeline = Timeline::of(&metrics, EVERY);
    timeline.pass(10).await;
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    outbox.enqueue(&[envelope(1)], true).await;
    // A minute that need not be waited for.
    outbox.run("UPDATE stratt_outbox SET since = since - 61000").await;
    gauge(&metrics, "stratt_outbox_oldest_seconds", |age| age > 60.0).await;
    timeline.pass(10).await;
    stage.bridge.provision(&Topology::default()).await.unwrap();
    gauge(&metrics, "stratt_outbox_oldest_seconds", |age| age.abs() < f64::EPSILON).await;
    timeline.pass(10).await;
    timeline.write(Some("StrattOutboxOld"), ",outbox=\"stratt_outbox\"");
    assert_eq!(relaying.stop().await.published, 1);
}

#[tokio::test]
async fn an_event_that_is_quarantined_leaves_its_series() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    let outbox = outbox().await;
    outbox.enqueue(&[envelope(1), envelope(2)], true).await;
    outbox
        .run("UPDATE stratt_outbox SET subject = 'strat.>' WHERE id = (SELECT min(id) FROM stratt_outbox)")
        .await;
    let relaying = outbox.relay(&stage.bridge);
    gauge(&metrics, "stratt_outbox_quarantined", |events| events > 0.5).await;
    let mut timeline = Timeline::of(&metrics, EVERY);
    timeline.pass(10).await;
    outbox.run("DELETE FROM stratt_outbox WHERE state = 2").await;
    gauge(&metrics, "stratt_outbox_quarantined", |events| events < 0.5).await;
    timeline.pass(10).await;
    timeline.write(Some("StrattOutboxQuarantined"), ",outbox=\"stratt_outbox\"");
    assert_eq!(relaying.stop().await.quarantined, 1);
}
