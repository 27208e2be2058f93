//! A relay that is shut down ends in time, whatever is away.

use std::time::{Duration, Instant};
use stratt_event_bridge::{Envelope, UnitPublished, outbox::OutboxOptions, testing::FaultProxy};
use support::{Outbox, Stage, database, eventually, published, source};

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_ends_while_broker_and_database_are_frozen() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let (broker, bridge) = stage.through_proxy(Duration::from_secs(5)).await;
    let url = database().await;
    let host = url.trim_start_matches("postgres://postgres@").split('/').next().unwrap().to_owned();
    let network = FaultProxy::start(&host).await.unwrap();
    let through = url.replace(&host, network.url().trim_start_matches("nats://"));
    let near = Outbox::postgres(&url, OutboxOptions::default()).await;
    let relay = Outbox::postgres(&through, OutboxOptions::default()).await.relay(&bridge);
    near.enqueue(&[envelope("a", 1)], true).await;
    eventually("status", || near.status(), |status| status.pending == 0).await;
    broker.blackhole();
    near.enqueue(&[envelope("a", 2)], true).await;
    eventually("held", || async { relay.progress.backlog() }, |held| *held == 1).await;
    network.blackhole();
    let begun = Instant::now();
    relay.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
}
