//! A stream of events that is recreated: its sequence numbers start again, and no event is taken for an older one.

use stratt_event_bridge::{
    ConsumeErrorKind, Delivery, Feed, HandlerError, UnitPublished, topology::EVENT_STREAM,
};
use support::{Effects, Running, Stage, published, quick};

/// Recreates the stream as others would: provisioning lets its sequences go on behind what was forwarded.
async fn recreate(stage: &Stage) {
    let context = stage.context();
    let config = context.get_stream(EVENT_STREAM).await.unwrap().cached_info().config.clone();
    context.delete_stream(EVENT_STREAM).await.unwrap();
    context.create_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_feed_is_handled_under_old_sequence_numbers() {
    let stage = Stage::on_newest().await;
    let effects = Effects::default();
    let consumer = stage.consumer("choco").feed(Feed::Choco).options(quick()).on(effects.handler());
    let running = Running::start(consumer.build().await.unwrap());
    let mut receipts = Vec::new();
    for number in 1..=3 {
        receipts.push((number, stage.bridge.publish(published("a", number)).await.unwrap()));
    }
    effects.are_each_once(&receipts).await;
    recreate(&stage).await;
    for number in 4..=6 {
        let receipt = stage.bridge.publish(published("a", number)).await.unwrap();
        assert_eq!(receipt.sequence(), number - 3);
        receipts.push((number, receipt));
    }
    effects.are_each_once(&receipts).await;
    stage.all_answered(Feed::Choco, "choco").await;
    assert_eq!(running.stop().await.handled, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_from_a_recreated_stream_has_its_own_letter() {
    let stage = Stage::new().await;
    let build = || {
        stage
            .consumer("strict")
            .on(|_: Delivery<UnitPublished>| async { Err(HandlerError::reject("never works")) })
    };
    let running = Running::start(build().build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    recreate(&stage).await;
    assert_eq!(running.failure().await.kind(), ConsumeErrorKind::ConsumerGone);
    let running = Running::start(build().build().await.unwrap());
    let receipt = stage.bridge.publish(published("b", 2)).await.unwrap();
    assert_eq!(receipt.sequence(), 1);
    stage.all_answered(Feed::Strat, "strict").await;
    let letters = stage.dead_letters_are(2).await;
    assert!(letters[1].subject() == "strat.dev.unit.published", "{letters:?}");
    running.stop().await;
}
