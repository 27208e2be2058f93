//! `Order::PerUnit`: the process that works keeps its pin, whatever a standby does and however busy it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{Delivery, DurableConsumer, EventBridge, Feed, Order, UnitPublished, async_nats};
use support::{Running, Stage, eventually, published, quick, short, source};
use tokio::time::sleep;

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

#[tokio::test]
async fn a_client_whose_places_are_all_taken_keeps_its_pin() {
    let stage = Stage::since(11).await;
    let short = || short().with_order(Order::PerUnit).with_max_in_flight(1);
    let (active, idle) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let start = |count: &Arc<AtomicU32>| {
        let count = Arc::clone(count);
        let builder = stage.consumer("busy").options(short().with_processing_timeout(Duration::from_mins(1)));
        builder.on(move |delivery: Delivery<UnitPublished>| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                if delivery.sequence() == 2 {
                    // Three times the ack wait, after which the server misses a pinned client.
                    sleep(short().ack_wait() * 3).await;
                }
                Ok(())
            }
        })
    };
    let first = Running::start(start(&active).build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("the first event", || async { active.load(Ordering::SeqCst) }, |n| *n == 1).await;
    let second = Running::start(start(&idle).build().await.unwrap());
    for number in 2..=5 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "busy").await;
    assert_eq!((active.load(Ordering::SeqCst), idle.load(Ordering::SeqCst)), (5, 0));
    assert_eq!((first.stop().await.handled, second.stop().await.received), (5, 0));
}
