//! Events that the stream removes: nobody waits beyond their time, and what is lost all the same is said.

use crate::support::{Running, Stage, eventually, published, quick};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Feed, HandlerError, Order, UnitPublished,
    dead_letter::DeadLetterReason,
    topology::{StreamSettings, Topology},
};
use tracing_subscriber::fmt::MakeWriter;

/// A stage whose events are kept for a few seconds.
async fn forgetful(max_age: Duration) -> Stage {
    let stage = Stage::new().await;
    let brief =
        StreamSettings::default().with_max_age(max_age).with_duplicate_window(Duration::from_millis(100));
    stage.bridge.provision(&Topology::default().with_choco(brief)).await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_delay_outlasts_the_event() {
    for order in [Order::Relaxed, Order::PerUnit] {
        let stage = forgetful(Duration::from_secs(6)).await;
        let options = quick().with_order(order).with_retry_delays([Duration::from_secs(3600)]);
        let consumer = stage.consumer("late").feed(Feed::Choco).options(options);
        let consumer = consumer.on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.attempt() {
                1 => Err(HandlerError::retry_after("tomorrow", Duration::from_secs(24 * 3600))),
                _ => Err(HandlerError::retry("in an hour")),
            }
        });
        let running = Running::start(consumer.build().await.unwrap());
        stage.bridge.publish(published("a", 1)).await.unwrap();
        // All three attempts, and the dead letter, while the event is there.
        let letters = stage.dead_letters_are(1).await;
        assert_eq!(letters[0].reason(), Some(DeadLetterReason::Exhausted));
        assert_eq!(running.stop().await.exhausted, 1);
    }
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

// On one thread, so that all of the consumer's lines are seen.
#[tokio::test]
async fn events_that_expire_before_they_are_acknowledged_are_reported_and_counted() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
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
    let reported =
        || async { String::from_utf8(log.0.lock().unwrap().clone()).unwrap().contains("are lost to it") };
    let stream = stage.stream(Feed::Choco).await;
    let kept = || async { stream.get_info().await.unwrap().state.messages };
    // What is acknowledged in time expires without a word.
    for number in 1..=3 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    eventually("kept", kept, |kept| *kept == 3).await;
    eventually("kept", kept, |kept| *kept == 0).await;
    assert!(!reported().await);
    // One runs for ever, and two wait behind it.
    for number in 4..=6 {
        stage.bridge.publish(published("stuck", number)).await.unwrap();
    }
    eventually("reported", reported, |reported| *reported).await;
    eventually("kept", kept, |kept| *kept == 0).await;
    let all_reported =
        || async { String::from_utf8(log.0.lock().unwrap().clone()).unwrap().contains("to=6") };
    eventually("all reported", all_reported, |reported| *reported).await;
    assert_eq!(running.stop().await.expired, 3);
}
