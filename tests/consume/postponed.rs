//! A dead letter that cannot be stored at once: it is still right later, and the handler does not run again.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use stratt_event_bridge::{
    Delivery, HandlerError, Order, UnitPublished, dead_letter::DeadLetterReason, topology::DEAD_LETTER_STREAM,
};
use support::{Log, Running, Stage, eventually, published, quick};

/// Lets `STRATT_DLQ` store everything, or nothing.
async fn takes_letters(stage: &Stage, takes: bool) {
    let mut config =
        stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap().cached_info().config.clone();
    config.max_message_size = if takes { -1 } else { 1 };
    stage.context().update_stream(&config).await.unwrap();
}

async fn tells_the_truth(order: Order, reason: DeadLetterReason, attempts: u32) {
    let stage = Stage::since(11).await;
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    let options = quick().with_max_attempts(2).with_order(order);
    let consumer = stage.consumer("c").options(options).on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            Err(match reason {
                DeadLetterReason::Rejected => HandlerError::reject("the database says no"),
                _ => HandlerError::retry("the database says no"),
            })
        }
    });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    takes_letters(&stage, false).await;
    let log = Log::listen();
    let running = Running::start(consumer);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let postponed = || async { (monitor.status().counts().postponed, log.count("written later")) };
    eventually("postponed", postponed, |(given_back, in_place)| given_back.max(&(*in_place as u64)) > &3)
        .await;
    takes_letters(&stage, true).await;
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert_eq!((letter.reason(), letter.error()), (Some(reason), "the database says no"), "{order:?}");
    assert_eq!(runs.load(Ordering::SeqCst), attempts, "{order:?}");
    running.stop().await;
}

// On one thread, so that the log has all lines.
#[tokio::test]
async fn a_rejected_event_stays_rejected() {
    for order in [Order::Relaxed, Order::PerUnit] {
        tells_the_truth(order, DeadLetterReason::Rejected, 1).await;
    }
}

#[tokio::test]
async fn the_last_error_is_kept() {
    for order in [Order::Relaxed, Order::PerUnit] {
        tells_the_truth(order, DeadLetterReason::Exhausted, 2).await;
    }
}

#[tokio::test]
async fn the_lines_of_a_failed_event_carry_its_error_bounded() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let options = quick().with_max_attempts(2);
    let consumer = stage.consumer("c").options(options).on(|_: Delivery<UnitPublished>| async {
        Err(HandlerError::retry(format!("the database says no{}", "!".repeat(5_000))))
    });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    for line in ["event is to be retried", "event is dead-lettered"] {
        assert_eq!(log.count_all(&[line, "the database says no!!!"]), 1, "{line}");
    }
    assert_eq!(log.count(&"!".repeat(1_024)), 0);
}
