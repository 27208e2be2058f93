//! The upgrade from streams and durables of a version that redrove events to everybody, in both orders.

use async_nats::jetstream::{
    consumer::{AckPolicy, pull},
    stream::{Config, DiscardPolicy, Source, SubjectTransform},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumeErrorKind, ConsumerBuilder, ConsumerOptions, Delivery, EventBridge, Feed, HandlerError,
    OnMismatch, UnitPublished, async_nats,
    dead_letter::DeadLetterErrorKind,
    dedupe::MemoryStore,
    testing::NatsServer,
    topology::{CHOCO_STREAM, EVENT_STREAM, Topology},
};
use support::{Running, Stage, eventually, published, quick, source};

const DURABLE: &str = "c";
/// Shorter than what passes until the streams are changed.
const WINDOW: Duration = Duration::from_millis(100);

/// Streams, events and a durable as the version before made them.
async fn old_stage() -> Stage {
    let server = NatsServer::start().await.unwrap();
    let client = server.connect().await.unwrap();
    let bridge = EventBridge::new(client.clone(), source());
    let stage = Stage { server, client, bridge, store: Arc::new(MemoryStore::new()) };
    // What has not changed since is made as it is today.
    stage.bridge.provision(&Topology::default().without_choco()).await.unwrap();
    let context = stage.context();
    let mut events = context.get_stream(EVENT_STREAM).await.unwrap().cached_info().config.clone();
    events.subjects = vec!["strat.>".into()];
    context.update_stream(&events).await.unwrap();
    let transform = SubjectTransform { source: "strat.>".into(), destination: "choco.strat.>".into() };
    let forwarded =
        Source { name: EVENT_STREAM.into(), subject_transforms: vec![transform], ..Source::default() };
    let choco = Config {
        name: CHOCO_STREAM.into(),
        sources: Some(vec![forwarded]),
        discard: DiscardPolicy::New,
        duplicate_window: WINDOW,
        max_age: events.max_age,
        allow_direct: true,
        ..Config::default()
    };
    context.create_stream(choco).await.unwrap();
    let durable = pull::Config {
        durable_name: Some(DURABLE.into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(45),
        max_ack_pending: 250_000,
        filter_subject: "choco.strat.*.unit.published".into(),
        ..pull::Config::default()
    };
    context.create_consumer_on_stream(durable, CHOCO_STREAM).await.unwrap();
    for number in 1..=20 {
        stage.bridge.publish(published(&format!("old-{number}"), number)).await.unwrap();
    }
    forwarded_are(&stage, 20).await;
    // The window has to pass, since within it Choco drops what comes again.
    tokio::time::sleep(2 * WINDOW).await;
    stage
}

async fn forwarded_are(stage: &Stage, count: u64) {
    let forwarded = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", forwarded, |messages| *messages == count).await;
}

/// A consumer that rejects what has the name `bad`, unless it is redriven.
fn consumer(stage: &Stage, handled: &Arc<AtomicU64>, on_mismatch: OnMismatch) -> ConsumerBuilder {
    let count = Arc::clone(handled);
    let options: ConsumerOptions = quick().with_on_mismatch(on_mismatch);
    stage.consumer(DURABLE).feed(Feed::Choco).options(options).on(move |delivery: Delivery<UnitPublished>| {
        let fails = delivery.event().uri.slug() == "bad" && !delivery.is_redriven();
        count.fetch_add(u64::from(!fails), Ordering::SeqCst);
        async move { if fails { Err(HandlerError::reject("bad")) } else { Ok(()) } }
    })
}

/// Redrives the only dead letter, and checks that each event was handled once.
async fn is_redriven(stage: &Stage, handled: &AtomicU64, events: u64) {
    let letter = stage.dead_letters_are(1).await.remove(0);
    stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap();
    let handled = || async { handled.load(Ordering::SeqCst) };
    eventually("handled", handled, |handled| *handled == events).await;
    forwarded_are(stage, events + 1).await;
    stage.all_answered(Feed::Choco, DURABLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_upgraded_before_their_consumers() {
    let stage = old_stage().await;
    stage.bridge.provision(&Topology::default()).await.unwrap();
    stage.bridge.verify(&Topology::default()).await.unwrap();
    stage.bridge.publish(published("bad", 21)).await.unwrap();
    // None is forwarded twice.
    forwarded_are(&stage, 21).await;
    let handled = Arc::new(AtomicU64::new(0));
    let refused = consumer(&stage, &handled, OnMismatch::Fail).build().await.unwrap_err();
    assert_eq!(refused.kind(), ConsumeErrorKind::Mismatch);
    // The durable as it was still serves its events; what it does not filter is not redriven for it.
    let kept = Running::start(consumer(&stage, &handled, OnMismatch::Keep).build().await.unwrap());
    let letter = stage.dead_letters_are(1).await.remove(0);
    let error = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::NotReceived);
    assert_eq!(kept.stop().await.handled, 20);
    let upgraded = Running::start(consumer(&stage, &handled, OnMismatch::Update).build().await.unwrap());
    is_redriven(&stage, &handled, 21).await;
    upgraded.stop().await;
    // Provisioning again changes nothing, and nothing is forwarded again.
    stage.bridge.provision(&Topology::default()).await.unwrap();
    stage.bridge.publish(published("last", 22)).await.unwrap();
    forwarded_are(&stage, 23).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_upgraded_before_their_streams() {
    let stage = old_stage().await;
    let handled = Arc::new(AtomicU64::new(0));
    let upgraded = Running::start(consumer(&stage, &handled, OnMismatch::Update).build().await.unwrap());
    stage.bridge.publish(published("bad", 21)).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    // No stream takes it yet: the dead letter stays.
    let error = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::Publish);
    stage.dead_letters_are(1).await;
    stage.bridge.provision(&Topology::default()).await.unwrap();
    is_redriven(&stage, &handled, 21).await;
    let summary = upgraded.stop().await;
    assert_eq!((summary.handled, summary.duplicates), (21, 0), "{summary:?}");
}
