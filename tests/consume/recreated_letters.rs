//! Streams are deleted and created anew while there are dead letters: no redrive takes one event for another.

use stratt_event_bridge::{
    Delivery, Envelope, Feed, HandlerError, UnitPublished,
    dead_letter::{DeadLetterErrorKind, DeadLetters},
    topology::{DEAD_LETTER_STREAM, EVENT_STREAM, Topology},
};
use support::{Running, Stage, published, source};

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
    let mut config =
        stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap().cached_info().config.clone();
    config.max_message_size = 2_000;
    stage.context().update_stream(&config).await.unwrap();
    let running = rejecting(&stage).await;
    let large = |number| {
        let event = Envelope::builder(published("a", number), source());
        event.meta("note", "n".repeat(3_000)).build().unwrap()
    };
    stage.bridge.publish_envelope(&large(1)).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert!(letter.is_payload_omitted() && letter.stream_sequence() == 1);
    running.stop().await;

    recreate(&stage, EVENT_STREAM).await;
    let receipt = stage.bridge.publish_envelope(&large(2)).await.unwrap();
    assert_eq!(receipt.sequence(), 1);
    let error = DeadLetters::new(&stage.bridge).redrive(letter.sequence()).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::PayloadGone);
    // Neither did it publish anything, nor is the dead letter gone.
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 1);
    assert_eq!(stage.dead_letters().await.len(), 1);
}
