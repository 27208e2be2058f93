//! Events that the stream removes: no retry waits beyond their age, and a lost event is reported.

use std::time::Duration;
use stratt_event_bridge::{
    Delivery, Feed, HandlerError, Order, UnitPublished,
    dead_letter::DeadLetterReason,
    topology::{StreamSettings, Topology},
};
use support::{Log, Running, Stage, deprecated, eventually, published, quick};

/// A stage whose events are kept for a few seconds.
async fn forgetful(max_age: Duration) -> Stage {
    let stage = Stage::on_newest().await;
    let brief =
        StreamSettings::default().with_max_age(max_age).with_duplicate_window(Duration::from_millis(100));
    stage.bridge.provision(&Topology::default().with_choco(brief)).await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_delay_outlasts_the_event() {
    for order in [Order::Relaxed, Order::PerUnit] {
        let stage = forgetful(Duration::from_secs(6)).await;
        let options = quick().with_order(order).with_retry_delays([Duration::from_hours(1)]);
        let consumer = stage.consumer("late").feed(Feed::Choco).options(options);
        let consumer = consumer.on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.attempt() {
                1 => Err(HandlerError::retry_after("tomorrow", Duration::from_hours(24))),
                _ => Err(HandlerError::retry("in an hour")),
            }
        });
        let running = Running::start(consumer.build().await.unwrap());
        stage.bridge.publish(published("a", 1)).await.unwrap();
        // All three attempts and the dead letter happen while the stream has the event.
        let letters = stage.dead_letters_are(1).await;
        assert_eq!(letters[0].reason(), Some(DeadLetterReason::Exhausted));
        assert_eq!(running.stop().await.exhausted, 1);
    }
}

// On one thread, so that the log has all of the consumer's lines.
#[tokio::test]
async fn events_that_expire_unacknowledged_are_reported() {
    let log = Log::listen();
    let stage = forgetful(Duration::from_secs(2)).await;
    let options = quick().with_max_in_flight(1).with_shutdown_grace(Duration::ZERO);
    let consumer = stage.consumer("stuck").feed(Feed::Choco).options(options);
    let consumer = consumer.on(|delivery: Delivery<UnitPublished>| async move {
        if delivery.event().uri.to_string().contains("stuck") {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let running = Running::start(consumer.build().await.unwrap());
    let stream = stage.stream(Feed::Choco).await;
    let kept = || async { stream.get_info().await.unwrap().state.messages };
    // Events that were acknowledged in time expire without a log line.
    for number in 1..=3 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    // So do events that the consumer has no handler for.
    for number in 4..=5 {
        stage.bridge.publish(deprecated("a", number)).await.unwrap();
    }
    eventually("kept", kept, |kept| *kept == 5).await;
    eventually("kept", kept, |kept| *kept == 0).await;
    assert_eq!(log.count("are lost to it"), 0);
    // One never ends, and two wait behind it.
    for number in 6..=8 {
        stage.bridge.publish(published("stuck", number)).await.unwrap();
    }
    // It may be reported in parts: wait for the last of them.
    eventually("reports", || async { log.count("to=8") }, |lines| *lines == 1).await;
    assert_eq!(running.stop().await.expired, 3);
}
