//! Durables as operators see them: listed, looked at, paused and resumed.

use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, DurableConsumer, Feed, UnitPublished,
    durables::{Activity, DeliveryState, DurableStatus, DurablesErrorKind},
    testing::NatsServer,
};
use support::{Faulty, Running, Stage, eventually, published, quick};
use time::OffsetDateTime;

async fn consumer(stage: &Stage, name: &str) -> DurableConsumer {
    stage.consumer(name).on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap()
}

fn in_an_hour() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::from_hours(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durables_are_listed_by_name_with_how_far_they_are() {
    let stage = Stage::new().await;
    for name in ["second", "first"] {
        drop(consumer(&stage, name).await);
    }
    let running = Running::start(consumer(&stage, "first").await);
    for number in 1..=3 {
        stage.bridge.publish(published("listed", number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "first").await;
    let durables = stage.bridge.durables();
    let listed = durables.list(Feed::Strat).await.unwrap();
    let names: Vec<_> = listed.iter().map(DurableStatus::name).collect();
    assert_eq!(names, ["first", "second"]);
    let (first, second) = (&listed[0], &listed[1]);
    assert_eq!((first.pending(), second.pending()), (0, 3));
    assert_eq!(first.delivery_of(3), DeliveryState::Answered);
    assert_eq!(second.delivery_of(1), DeliveryState::Pending);
    assert!(first.reads("strat.dev.unit.published") && !first.reads("strat.dev.unit.unknown"));
    assert!(durables.list(Feed::Choco).await.unwrap().is_empty());
    let json = serde_json::to_value(second).unwrap();
    assert_eq!(json["stream"], "STRATT_EVENTS");
    assert!(json["paused_seconds"].is_null() && json["pending"] == 3 && json["activity"] == "absent");
    assert_eq!(first.activity(), Activity::Working);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_durable_delivers_nothing_until_it_is_resumed() {
    let stage = Stage::since(11).await;
    let (durables, name) = (stage.bridge.durables(), "paused".parse().unwrap());
    let running = Running::start(consumer(&stage, "paused").await);
    assert!(durables.pause(Feed::Strat, &name, in_an_hour()).await.unwrap());
    let left = durables.get(Feed::Strat, &name).await.unwrap().paused_for().unwrap();
    assert!(left > Duration::from_mins(59) && left <= Duration::from_hours(1), "{left:?}");
    stage.bridge.publish(published("paused", 1)).await.unwrap();
    let look = || async { durables.get(Feed::Strat, &name).await.unwrap() };
    let paused = eventually("event is pending", look, |durable| durable.pending() == 1).await;
    assert_eq!((paused.delivery_of(1), paused.activity()), (DeliveryState::Pending, Activity::Paused));
    assert!(!durables.resume(Feed::Strat, &name).await.unwrap());
    stage.all_answered(Feed::Strat, "paused").await;
    assert_eq!(durables.get(Feed::Strat, &name).await.unwrap().paused_for(), None);
    assert!(!durables.pause(Feed::Strat, &name, OffsetDateTime::UNIX_EPOCH).await.unwrap());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_whose_store_is_down_is_not_taken_for_absent() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    store.is_down(true);
    let consumer = stage.bridge.consumer("held-back", store.clone()).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("waits", 1)).await.unwrap();
    let (durables, name) = (stage.bridge.durables(), "held-back".parse().unwrap());
    let look = || async { durables.get(Feed::Strat, &name).await.unwrap().activity() };
    eventually("busy", look, |activity| *activity == Activity::Busy).await;
    store.is_down(false);
    eventually("working", look, |activity| *activity == Activity::Working).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named() {
    let stage = Stage::since(11).await;
    let (durables, name) = (stage.bridge.durables(), "absent".parse().unwrap());
    let errors = [
        durables.get(Feed::Choco, &name).await.unwrap_err(),
        durables.pause(Feed::Choco, &name, in_an_hour()).await.unwrap_err(),
        durables.resume(Feed::Choco, &name).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), DurablesErrorKind::NotFound);
        let message = error.to_string();
        assert!(message.starts_with("durable absent of CHOCO_STRATT does not exist"), "{message}");
    }
    stage.context().delete_stream("CHOCO_STRATT").await.unwrap();
    let errors = [
        durables.list(Feed::Choco).await.unwrap_err(),
        durables.get(Feed::Choco, &name).await.unwrap_err(),
        durables.resume(Feed::Choco, &name).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), DurablesErrorKind::StreamNotFound, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_knows_no_pauses_is_not_asked_for_one() {
    let stage = Stage::on(NatsServer::builder().version("2.10.26").start().await.unwrap()).await;
    let error = stage.bridge.durables().resume(Feed::Strat, &"any".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), DurablesErrorKind::Unsupported);
    assert!(error.to_string().ends_with("2.11 is needed"), "{error}");
}
