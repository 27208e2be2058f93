//! Events that were handled and are being settled make room for the next ones.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{ConsumerMonitor, Delivery, Feed, UnitPublished};
use support::{Call, Faulty, Running, Stage, published, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_events_begin_while_others_are_settled() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    store.slow_down(Call::Settle, Duration::from_millis(30));
    let monitor: Arc<OnceLock<ConsumerMonitor>> = Arc::default();
    let (begun, most_unsettled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (watched, count, most) = (Arc::clone(&monitor), Arc::clone(&begun), Arc::clone(&most_unsettled));
    let consumer = stage.bridge.consumer("slow", store).options(quick().with_max_in_flight(2));
    let consumer = consumer.on(move |_: Delivery<UnitPublished>| {
        let begun = count.fetch_add(1, Ordering::SeqCst) + 1;
        let settled = watched.get().map_or(0, |monitor| monitor.status().counts().handled);
        most.fetch_max(begun - settled, Ordering::SeqCst);
        async { Ok(()) }
    });
    for number in 1..=100 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    let consumer = consumer.build().await.unwrap();
    monitor.set(consumer.monitor()).unwrap();
    let running = Running::start(consumer);
    stage.all_answered(Feed::Strat, "slow").await;
    assert_eq!((running.stop().await.handled, begun.load(Ordering::SeqCst)), (100, 100));
    // Two in flight, and two that are being settled.
    let most = most_unsettled.load(Ordering::SeqCst);
    assert!((3..=4).contains(&most), "{most}");
}
