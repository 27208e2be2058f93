//! A large part of an outbox holds up nothing else: events of one unit, large events, and what is left at the end.

use std::time::Duration;
use stratt_event_bridge::{Envelope, UnitPublished, outbox::OutboxOptions};
use support::{Outbox, Stage, eventually, published, source};

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

async fn the_good_event_is_published(outbox: &Outbox) {
    let pending = "SELECT count(*) FROM stratt_outbox WHERE state = 0 AND uri LIKE '%good%'";
    eventually("the good event", || outbox.count(pending), |pending| *pending == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_with_many_events_holds_up_no_other() {
    let stage = Stage::new().await;
    let (proxy, bridge) = stage.through_proxy(Duration::from_secs(5)).await;
    proxy.delay(Duration::from_millis(5));
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let many: Vec<_> = (0..4000).map(|n| envelope("hot", n)).collect();
        outbox.enqueue(&many, true).await;
        outbox.enqueue(&[envelope("good", 1)], true).await;
        let relay = outbox.relay(&bridge);
        the_good_event_is_published(&outbox).await;
        assert!(outbox.status().await.pending > 3000, "{:?}", outbox.status().await);
        relay.abort();
    }
}

const SIZE: usize = 250_000;

fn large(n: u64) -> Envelope<UnitPublished> {
    let mut event = published(&format!("u{n}"), n);
    event.actor = Some("x".repeat(SIZE));
    Envelope::builder(event, source()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_are_held_by_the_byte() {
    let stage = Stage::new().await;
    for outbox in Outbox::both(OutboxOptions::default()).await {
        outbox.enqueue(&(0..200).map(large).collect::<Vec<_>>(), true).await;
        let relay = outbox.relay(&stage.bridge);
        let mut most = 0;
        let all = || {
            most = most.max(relay.progress.backlog());
            let (published, most) = (relay.progress.summary().published, most);
            async move { (published, most) }
        };
        let (_, most) = eventually("published", all, |(published, _)| *published == 200).await;
        // 8 MiB; beside it there is what was published and is not marked yet.
        assert!(most < 150, "{most} events of {SIZE} bytes were held");
        relay.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_before_a_shutdown_is_published() {
    let stage = Stage::new().await;
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let relay = outbox.relay(&stage.bridge);
        outbox.enqueue(&[envelope("first", 1)], true).await;
        eventually("the relay leads", || async { relay.progress.summary().published }, |n| *n == 1).await;
        // More bytes than a relay holds at once, so that it has to look again.
        outbox.enqueue(&(0..50).map(large).collect::<Vec<_>>(), true).await;
        let summary = relay.stop().await;
        assert_eq!((summary.published, outbox.status().await.pending), (51, 0));
    }
}
