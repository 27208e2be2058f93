//! Log lines of a relay: a fault of many events does not flood the log.

use stratt_event_bridge::{
    Envelope, EventBridge, outbox::OutboxOptions, testing::NatsServer, topology::Topology,
};
use support::{Log, Outbox, eventually, published, source, sqlite_pool};

// On one thread, so that the relay's lines are seen.
#[tokio::test]
async fn many_events_that_can_never_be_published_are_logged_as_a_few() {
    let log = Log::listen();
    let server = NatsServer::builder().config("max_payload: 3000").start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    let outbox = Outbox::sqlite(sqlite_pool().await, OutboxOptions::default()).await;
    let large: Vec<Envelope<_>> = (0..100)
        .map(|number| {
            let envelope = Envelope::builder(published("a", number), source());
            envelope.meta("text", "x".repeat(4000)).build().unwrap()
        })
        .collect();
    outbox.enqueue(&large, true).await;
    let relay = outbox.relay(&bridge);
    eventually("quarantined", || outbox.status(), |status| status.quarantined == 100).await;
    assert_eq!(relay.stop().await.quarantined, 100);
    assert_eq!(log.count("left_out=90"), 1);
    // Those that were logged, and the one that reports the others.
    assert_eq!(log.count("can never be published"), 11);
}
