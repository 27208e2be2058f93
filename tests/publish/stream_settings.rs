//! The settings of a stream that a guarantee depends on: each is compared and reported by name.

use async_nats::jetstream::{
    self,
    stream::{Config, ConsumerLimits, DiscardPolicy, PersistenceMode, Source, SubjectTransform},
};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConsumeErrorKind, Delivery, EventBridge, Feed, UnitPublished, async_nats,
    dedupe::MemoryStore,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Topology, TopologyError, TopologyErrorKind},
};
use support::{Stage, published, quick};

async fn config(stage: &Stage, stream: &str) -> Config {
    stage.context().get_stream(stream).await.unwrap().cached_info().config.clone()
}

/// Replaces a stream by one of an operator, which `change` makes different.
async fn remake(stage: &Stage, stream: &str, change: impl Fn(&mut Config)) {
    let mut made = config(stage, stream).await;
    change(&mut made);
    stage.context().delete_stream(stream).await.unwrap();
    stage.context().create_stream(made).await.unwrap();
}

async fn verify(stage: &Stage) -> Vec<String> {
    match stage.bridge.verify(&Topology::default()).await {
        Ok(()) => Vec::new(),
        Err(error) => {
            assert_eq!(error.kind(), TopologyErrorKind::Mismatch, "{error}");
            told(&error)
        }
    }
}

fn told(error: &TopologyError) -> Vec<String> {
    error.differences().iter().map(ToString::to_string).collect()
}

async fn build(bridge: &EventBridge, feed: Feed) -> Result<(), String> {
    let builder = bridge.consumer("c", Arc::new(MemoryStore::new())).feed(feed).options(quick());
    match builder.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await {
        Ok(_consumer) => Ok(()),
        Err(error) => {
            assert_eq!(error.kind(), ConsumeErrorKind::UnfitStream, "{error}");
            Err(error.to_string())
        }
    }
}

/// Checks a setting that `provision` corrects: verify names it, a consumer is refused for it, and then all is well.
async fn is_mended(
    stage: &Stage,
    stream: &str,
    change: impl Fn(&mut Config),
    says: &str,
    unfit: Option<&str>,
) {
    remake(stage, stream, change).await;
    assert_eq!(verify(stage).await, [format!("{stream}: {says}")]);
    let built = build(&stage.bridge, Feed::Strat).await;
    match unfit {
        Some(unfit) => {
            let error = built.unwrap_err();
            assert!(error.contains(stream) && error.contains(unfit), "{error}");
        }
        None => built.unwrap(),
    }
    stage.bridge.provision(&Topology::default()).await.unwrap();
    assert_eq!(verify(stage).await, Vec::<String>::new());
    build(&stage.bridge, Feed::Strat).await.unwrap();
}

/// Checks a setting that the server cannot change: verify and provision name it, and a consumer is refused for it.
async fn is_final(
    stage: &Stage,
    stream: &str,
    change: impl Fn(&mut Config),
    says: &str,
    unfit: Option<&str>,
) {
    remake(stage, stream, change).await;
    let says = format!("{stream}: {says} (cannot be changed)");
    assert!(verify(stage).await.contains(&says), "{:?}", verify(stage).await);
    let error = stage.bridge.provision(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Conflict, "{error}");
    assert!(told(&error).contains(&says), "{error}");
    match (unfit, build(&stage.bridge, Feed::Strat).await) {
        (Some(unfit), built) => {
            let error = built.unwrap_err();
            assert!(error.contains(stream) && error.contains(unfit), "{error}");
        }
        (None, built) => built.unwrap(),
    }
    stage.context().delete_stream(stream).await.unwrap();
    stage.bridge.provision(&Topology::default()).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_acknowledges_nothing_is_told() {
    let stage = Stage::new().await;
    for stream in [EVENT_STREAM, DEAD_LETTER_STREAM] {
        let silent = |config: &mut Config| config.no_ack = true;
        is_mended(&stage, stream, silent, "no_ack is true, wanted false", Some("no_ack")).await;
    }
    stage.bridge.publish(published("a", 1)).await.unwrap();
}

#[tokio::test]
async fn a_sealed_stream_is_told_as_sealed() {
    let stage = Stage::new().await;
    for stream in [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM] {
        let mut sealed = config(&stage, stream).await;
        sealed.sealed = true;
        stage.context().update_stream(&sealed).await.unwrap();
        let says = format!("{stream}: sealed is true, wanted false (cannot be changed)");
        // That it has no limit of age and so on follows from it.
        assert_eq!(verify(&stage).await, std::slice::from_ref(&says));
        let error = stage.bridge.provision(&Topology::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (TopologyErrorKind::Conflict, says));
        let feed = if stream == CHOCO_STREAM { Feed::Choco } else { Feed::Strat };
        let error = build(&stage.bridge, feed).await.unwrap_err();
        assert!(error.starts_with(&format!("{stream} is sealed")), "{error}");
        stage.context().delete_stream(stream).await.unwrap();
        stage.bridge.provision(&Topology::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_limit_for_each_subject_that_refuses_is_taken_away() {
    let stage = Stage::new().await;
    remake(&stage, EVENT_STREAM, |config| {
        (config.max_messages_per_subject, config.discard_new_per_subject) = (1, true);
    })
    .await;
    let says = |says: &str| format!("{EVENT_STREAM}: {says}");
    let limit = says("max_messages_per_subject is 1, wanted none");
    let refuses = says("discard_new_per_subject is true, wanted false");
    assert_eq!(verify(&stage).await, [limit, refuses]);
    stage.bridge.provision(&Topology::default()).await.unwrap();
    assert_eq!(verify(&stage).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_lets_messages_vanish_or_change_is_taken_away() {
    let stage = Stage::since(11).await;
    let rolls_up = |config: &mut Config| config.allow_rollup = true;
    is_mended(&stage, EVENT_STREAM, rolls_up, "allow_rollup is true, wanted false", Some("allow_rollup"))
        .await;
    let elsewhere = |config: &mut Config| {
        let (source, destination) = ("strat.>".into(), "strat.elsewhere.>".into());
        config.subject_transform = Some(SubjectTransform { source, destination });
    };
    let says = "subject_transform is strat.> -> strat.elsewhere.>, wanted none";
    is_mended(&stage, EVENT_STREAM, elsewhere, says, Some("subject_transform")).await;
    let limited = |config: &mut Config| {
        let limits = ConsumerLimits { inactive_threshold: Duration::from_hours(1), max_ack_pending: 0 };
        config.consumer_limits = Some(limits);
    };
    remake(&stage, EVENT_STREAM, limited).await;
    let says = "consumer_limits is inactive_threshold 3600s, wanted none";
    assert_eq!(verify(&stage).await, [format!("{EVENT_STREAM}: {says}")]);
    stage.bridge.provision(&Topology::default()).await.unwrap();
    assert_eq!(verify(&stage).await, Vec::<String>::new());
    // A marker of the server is no event, but would be delivered as one.
    remake(&stage, EVENT_STREAM, |config| {
        config.allow_message_ttl = true;
        config.allow_rollup = true;
        config.subject_delete_marker_ttl = Some(Duration::from_mins(1));
    })
    .await;
    let marks = format!("{EVENT_STREAM}: subject_delete_marker_ttl is 60s, wanted none");
    assert!(verify(&stage).await.contains(&marks), "{:?}", verify(&stage).await);
    let error = build(&stage.bridge, Feed::Strat).await.unwrap_err();
    assert!(error.contains("subject_delete_marker_ttl"), "{error}");
    stage.bridge.provision(&Topology::default()).await.unwrap();
    assert_eq!(verify(&stage).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_server_cannot_change_is_told_by_its_name() {
    let stage = Stage::since(12).await;
    let keeps = |config: &mut Config| config.deny_delete = true;
    // A dead letter that was redriven could not be removed.
    is_final(&stage, DEAD_LETTER_STREAM, keeps, "deny_delete is true, wanted false", None).await;
    let lazy = |config: &mut Config| {
        config.persist_mode = Some(PersistenceMode::Async);
        config.allow_atomic_publish = false;
    };
    is_final(&stage, EVENT_STREAM, lazy, "persist_mode is Async, wanted Default", Some("persist_mode")).await;
    let counts = |config: &mut Config| {
        (config.allow_message_counter, config.discard) = (true, DiscardPolicy::Old);
        config.duplicate_window = Duration::ZERO;
    };
    let says = "allow_message_counter is true, wanted false";
    is_final(&stage, EVENT_STREAM, counts, says, Some("allow_message_counter")).await;
}

#[tokio::test]
async fn a_mirror_is_told_as_one() {
    let stage = Stage::new().await;
    let of = Config { name: "OTHER".into(), subjects: vec!["other.>".into()], ..Config::default() };
    stage.context().create_stream(of).await.unwrap();
    let mirror = |config: &mut Config| {
        config.subjects.clear();
        config.mirror = Some(Source { name: "OTHER".into(), ..Source::default() });
    };
    is_final(&stage, EVENT_STREAM, mirror, "mirror is OTHER, wanted none", Some("mirror")).await;
}

#[tokio::test]
async fn what_only_protects_the_events_is_no_difference() {
    let stage = Stage::new().await;
    for stream in [EVENT_STREAM, CHOCO_STREAM] {
        remake(&stage, stream, |config| (config.deny_delete, config.deny_purge) = (true, true)).await;
    }
    assert_eq!(verify(&stage).await, Vec::<String>::new());
    stage.bridge.provision(&Topology::default()).await.unwrap();
    assert!(config(&stage, EVENT_STREAM).await.deny_delete);
    build(&stage.bridge, Feed::Strat).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_stream_that_takes_no_dead_letter_is_refused() {
    let stage = Stage::new().await;
    let mut tiny = config(&stage, DEAD_LETTER_STREAM).await;
    tiny.max_message_size = 1000;
    jetstream::new(stage.client.clone()).update_stream(&tiny).await.unwrap();
    let error = build(&stage.bridge, Feed::Strat).await.unwrap_err();
    assert!(error.contains(DEAD_LETTER_STREAM) && error.contains("max_message_size"), "{error}");
}
