//! Events that the stream removes are lost to the consumer only if it had yet to handle them; then they are counted and
//! reported.

use futures::StreamExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    BridgeOptions, ConsumerMonitor, Delivery, EventBridge, Feed, UnitDeprecated, UnitPublished,
    testing::NatsServer,
    topology::{StreamSettings, Topology},
};
use support::{DEADLINE, NEWEST, Running, Stage, deprecated, eventually, published, quick, source};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handled_before_it_expired_is_not_lost() {
    let stage = Stage::new().await;
    let brief = StreamSettings::default()
        .with_max_age(Duration::from_secs(4))
        .with_duplicate_window(Duration::from_secs(2));
    let options = BridgeOptions::default().with_retry_budget(Duration::from_secs(1));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    bridge.provision(&Topology::default().with_events(brief)).await.unwrap();
    let publisher = bridge.clone();
    let _publishing = AbortOnDropHandle::new(tokio::spawn(async move {
        for number in 0.. {
            publisher.publish(published("a", number)).await.unwrap();
            sleep(Duration::from_millis(5)).await;
        }
    }));
    let oldest = || async { stage.stream(Feed::Strat).await.cached_info().state.first_sequence };
    let begun = eventually("the oldest event", oldest, |oldest| *oldest > 20).await;
    // The consumer begins with the oldest event, while the oldest events keep expiring.
    let (handled, gaps) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (last, lost) = (Arc::clone(&handled), Arc::clone(&gaps));
    let consumer = bridge.consumer("new", stage.store.clone()).options(quick().with_max_in_flight(1));
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
        let before = last.swap(delivery.sequence(), Ordering::SeqCst);
        lost.fetch_add(u64::from(before != 0 && delivery.sequence() != before + 1), Ordering::SeqCst);
        async { Ok(()) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    let at = || async { handled.load(Ordering::SeqCst) };
    // Until its first events have expired and several looks are over.
    eventually("handled", at, |at| *at > begun + 600).await;
    let summary = running.stop().await;
    assert_eq!((summary.expired, gaps.load(Ordering::SeqCst)), (0, 0), "{summary:?}");
}

/// Starts a consumer that needs a permit to handle an event, and so is stuck in the first.
async fn stuck(stage: &Stage, permits: &Arc<Semaphore>) -> (Running, ConsumerMonitor) {
    let (one, other) = (Arc::clone(permits), Arc::clone(permits));
    let consumer = stage.consumer("stuck").options(quick().with_max_in_flight(1));
    let consumer = consumer
        .on(move |_: Delivery<UnitPublished>| {
            let permits = Arc::clone(&one);
            async move {
                permits.acquire().await?.forget();
                Ok(())
            }
        })
        .on(move |_: Delivery<UnitDeprecated>| {
            let permits = Arc::clone(&other);
            async move {
                permits.acquire().await?.forget();
                Ok(())
            }
        });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    (Running::start(consumer), monitor)
}

/// Waits until the consumer has looked at its stream.
async fn looks(stage: &Stage) {
    let mut asked = stage.client.subscribe("$JS.API.STREAM.INFO.STRATT_EVENTS").await.unwrap();
    // Each look asks twice; the first look may have begun before.
    for _ in 0..4 {
        timeout(DEADLINE, asked.next()).await.unwrap().unwrap();
    }
}

async fn purge(stage: &Stage, subject: &str) {
    stage.stream(Feed::Strat).await.purge().filter(subject).await.unwrap();
}

/// Purges three events of one type behind the front of the stream, and keeps two of another.
async fn purges_a_type(version: &str, lost: u64) {
    let stage = Stage::on(NatsServer::builder().version(version).start().await.unwrap()).await;
    let permits = Arc::new(Semaphore::new(0));
    let (running, monitor) = stuck(&stage, &permits).await;
    stage.bridge.publish(deprecated("first", 1)).await.unwrap();
    for number in 2..=4 {
        stage.bridge.publish(published("purged", number)).await.unwrap();
    }
    for number in 5..=6 {
        stage.bridge.publish(deprecated("kept", number)).await.unwrap();
    }
    let pending = || async { monitor.status().pending() };
    eventually("pending", pending, |pending| *pending == Some(5)).await;
    looks(&stage).await;
    purge(&stage, "strat.*.unit.published").await;
    let expired = || async { monitor.status().counts().expired };
    eventually("lost", expired, |expired| *expired == lost).await;
    permits.add_permits(10);
    let handled = || async { monitor.status().counts().handled };
    eventually("handled", handled, |handled| *handled == 6 - lost).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.expired), (6 - lost, lost), "{version}: {summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_is_purged_behind_the_front_is_reported() {
    purges_a_type(NEWEST, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_old_servers_skip_after_a_purge_by_subject_is_reported() {
    // Old servers skip those of the other type as well.
    tokio::join!(purges_a_type("2.10.26", 5), purges_a_type("2.14.6", 5));
}
