//! `Order::PerUnit`: a standby that ends changes nothing for the process that works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{Delivery, DurableConsumer, EventBridge, Feed, Order, UnitPublished, async_nats};
use support::{Running, Stage, eventually, published, quick, source};

/// A consumer on a connection of its own.
async fn consumer(stage: &Stage, handled: &Arc<AtomicU32>) -> DurableConsumer {
    let client = async_nats::connect(stage.server.url()).await.unwrap();
    let counted = Arc::clone(handled);
    EventBridge::new(client, source())
        .consumer("strict", Arc::clone(&stage.store))
        .options(quick().with_order(Order::PerUnit))
        .on(move |_: Delivery<UnitPublished>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .build()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_standby_that_ends_leaves_the_pinned_client_alone() {
    let stage = Stage::since(11).await;
    let (active, idle) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let first = Running::start(consumer(&stage, &active).await);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("the first event", || async { active.load(Ordering::SeqCst) }, |n| *n == 1).await;

    let second = Running::start(consumer(&stage, &idle).await);
    let third = Running::start(consumer(&stage, &idle).await);
    let stream = stage.stream(Feed::Strat).await;
    let waiting = || async { stream.consumer_info("strict").await.unwrap().num_waiting };
    eventually("requests of all three", waiting, |waiting| *waiting == 3).await;
    second.stop().await;

    for number in 2..20 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    let all = || async { active.load(Ordering::SeqCst) + idle.load(Ordering::SeqCst) };
    eventually("all events", all, |n| *n == 19).await;
    assert_eq!((active.load(Ordering::SeqCst), idle.load(Ordering::SeqCst)), (19, 0));
    tokio::time::timeout(Duration::from_secs(20), async { (first.stop().await, third.stop().await) })
        .await
        .unwrap();
}
