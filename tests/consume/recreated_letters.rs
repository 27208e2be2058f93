//! Streams that are recreated while there are dead letters: no redrive takes one event for another, or is dropped as a
//! duplicate of an older one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use stratt_event_bridge::{
    Delivery, Envelope, Feed, HandlerError, UnitPublished,
    dead_letter::DeadLetterErrorKind,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Topology},
};
use support::{Running, Stage, eventually, published, source};

async fn recreate(stage: &Stage, stream: &str) {
    stage.context().delete_stream(stream).await.unwrap();
    stage.bridge.provision(&Topology::default()).await.unwrap();
}

async fn rejecting(stage: &Stage) -> Running {
    let consumer = stage.consumer("strict");
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Err(HandlerError::reject("never")) });
    Running::start(consumer.build().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_another_event_are_never_redriven() {
    let stage = Stage::new().await;
    let running = rejecting(&stage).await;
    let mut config =
        stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap().cached_info().config.clone();
    config.max_message_size = 2_000;
    stage.context().update_stream(&config).await.unwrap();
    let large = |number| {
        let event = Envelope::builder(published("a", number), source());
        event.meta("note", "n".repeat(3_000)).build().unwrap()
    };
    stage.bridge.publish_envelope(&large(1)).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert!(letter.is_payload_omitted() && letter.stream_sequence() == 1);
    running.stop().await;

    // With its copy, behind which it would begin if the event was forwarded already.
    stage.context().delete_stream(CHOCO_STREAM).await.unwrap();
    recreate(&stage, EVENT_STREAM).await;
    let receipt = stage.bridge.publish_envelope(&large(2)).await.unwrap();
    assert_eq!(receipt.sequence(), 1);
    let error = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::PayloadGone);
    // It published nothing, and the dead letter is still there.
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 1);
    assert_eq!(stage.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_is_not_dropped_for_one_from_the_old_letters() {
    let stage = Stage::new().await;
    let dead_letters = stage.bridge.dead_letters();
    let running = rejecting(&stage).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    assert_eq!(stage.dead_letters_are(1).await[0].sequence(), 1);
    running.stop().await;
    // Redriven too early: it is dead-lettered again, and the new dead letter gets the sequence of the first one.
    dead_letters.redrive(1).await.unwrap();
    recreate(&stage, DEAD_LETTER_STREAM).await;
    let running = rejecting(&stage).await;
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert_eq!((letter.sequence(), letter.stream_sequence()), (1, 2));
    running.stop().await;

    let (handled, healed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_healed) = (Arc::clone(&handled), Arc::clone(&healed));
    let consumer = stage.consumer("strict").on(move |_: Delivery<UnitPublished>| {
        let is_healed = is_healed.load(Ordering::SeqCst);
        count.fetch_add(u32::from(is_healed), Ordering::SeqCst);
        async move { if is_healed { Ok(()) } else { Err(HandlerError::reject("never")) } }
    });
    let running = Running::start(consumer.build().await.unwrap());
    healed.store(true, Ordering::SeqCst);
    let receipt = dead_letters.redrive(1).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (3, false));
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 1).await;
    assert!(stage.dead_letters().await.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_letter_that_is_redriven_twice_at_once_is_one_event() {
    let stage = Stage::new().await;
    let running = rejecting(&stage).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    running.stop().await;
    let dead_letters = stage.bridge.dead_letters();
    let twice = [dead_letters.redrive(letter.sequence()), dead_letters.redrive(letter.sequence())];
    let results = futures::future::join_all(twice).await;
    assert!(results.iter().any(Result::is_ok), "{results:?}");
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 2);
}
