//! A stream of events that was lost while Choco's was not: provisioned again, it goes on behind what was forwarded.

use async_nats::jetstream::stream::SubjectTransform;
use std::time::Duration;
use stratt_event_bridge::{
    Feed, PublishReceipt, async_nats,
    testing::NatsServer,
    topology::{CHOCO_STREAM, EVENT_STREAM, Topology},
};
use support::{Effects, Running, Stage, eventually, published};
use tokio::time::sleep;

async fn forwarded(stage: &Stage) -> u64 {
    stage.stream(Feed::Choco).await.cached_info().state.last_sequence
}

/// Publishes these events, and waits until Choco has them.
async fn publish(stage: &Stage, numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, PublishReceipt)> {
    let mut receipts = Vec::new();
    for number in numbers.clone() {
        let receipt = stage.bridge.publish(published("a", number)).await.unwrap();
        assert_eq!((receipt.sequence(), receipt.is_duplicate()), (number, false));
        receipts.push((number, receipt));
    }
    eventually("forwarded", || forwarded(stage), |last| last == numbers.end()).await;
    receipts
}

async fn lose_origin(stage: &Stage) {
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.bridge.provision(&Topology::default()).await.unwrap();
    stage.bridge.verify(&Topology::default()).await.unwrap();
}

async fn every_new_event_reaches_choco_once(stage: Stage) {
    let effects = Effects::default();
    let consumer = stage.consumer("choco").feed(Feed::Choco).on(effects.handler());
    let running = Running::start(consumer.build().await.unwrap());
    let mut published = publish(&stage, 1..=3).await;
    for round in 1..=2 {
        lose_origin(&stage).await;
        // Once more provisioning changes nothing.
        stage.bridge.provision(&Topology::default()).await.unwrap();
        published.extend(publish(&stage, 3 * round + 1..=3 * round + 3).await);
    }
    stage.all_answered(Feed::Choco, "choco").await;
    effects.are_each_once(&published).await;
    assert_eq!((running.stop().await.handled, published.len()), (9, 9));
    assert_eq!(stage.stream(Feed::Choco).await.cached_info().state.messages, 9);
}

async fn on(version: &str) -> Stage {
    Stage::on(NatsServer::builder().version(version).start().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_a_recreated_origin_is_forwarded() {
    every_new_event_reaches_choco_once(Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_is_forwarded_on_older_servers() {
    let (oldest, old) = (on("2.10.26").await, on("2.12.8").await);
    tokio::join!(every_new_event_reaches_choco_once(oldest), every_new_event_reaches_choco_once(old));
}

#[tokio::test]
async fn a_recreated_origin_follows_what_choco_has_lost() {
    let stage = Stage::new().await;
    publish(&stage, 1..=3).await;
    stage.stream(Feed::Choco).await.delete_message(3).await.unwrap();
    lose_origin(&stage).await;
    publish(&stage, 4..=4).await;
    stage.context().get_stream(CHOCO_STREAM).await.unwrap().purge().await.unwrap();
    lose_origin(&stage).await;
    publish(&stage, 5..=5).await;
}

/// A source with other subjects is another one to the server, which begins at the oldest event.
async fn other_subjects_repeat_nothing(stage: Stage) {
    publish(&stage, 1..=20).await;
    let mut choco = stage.stream(Feed::Choco).await.cached_info().config.clone();
    choco.duplicate_window = Duration::from_millis(100);
    let mut before = choco.clone();
    let transforms = &mut before.sources.as_mut().unwrap()[0].subject_transforms;
    transforms.push(SubjectTransform { source: "more.>".into(), destination: "choco.more.>".into() });
    // As a version of this crate with other subjects would have made it.
    stage.context().delete_stream(CHOCO_STREAM).await.unwrap();
    stage.context().create_stream(before).await.unwrap();
    eventually("forwarded", || forwarded(&stage), |last| *last == 20).await;
    sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        stage.bridge.provision(&Topology::default()).await.unwrap();
        stage.bridge.verify(&Topology::default()).await.unwrap();
    }
    publish(&stage, 21..=25).await;
    assert_eq!(stage.stream(Feed::Choco).await.cached_info().state.messages, 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_with_other_subjects_repeats_nothing() {
    other_subjects_repeat_nothing(Stage::new().await).await;
    let (oldest, old) = (on("2.10.26").await, on("2.12.8").await);
    tokio::join!(other_subjects_repeat_nothing(oldest), other_subjects_repeat_nothing(old));
}

#[tokio::test]
async fn the_first_sequence_is_set_where_choco_is_elsewhere() {
    let stage = Stage::new().await;
    let topology = Topology::default().without_choco().with_first_sequence(100);
    // It changes no stream that is there.
    stage.bridge.provision(&topology).await.unwrap();
    assert_eq!(stage.bridge.publish(published("a", 1)).await.unwrap().sequence(), 1);
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.bridge.provision(&topology).await.unwrap();
    assert_eq!(stage.bridge.publish(published("a", 1)).await.unwrap().sequence(), 100);
    stage.bridge.verify(&topology).await.unwrap();
}
