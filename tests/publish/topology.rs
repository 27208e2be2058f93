//! The three streams: created, changed, refused, checked.

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy, StorageType},
};
use futures::{StreamExt, future::join_all};
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, EventBridge, Feed, PublishErrorKind, async_nats,
    testing::NatsServer,
    topology::{
        CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Storage, StreamSettings, Topology, TopologyErrorKind,
    },
};
use support::{Stage, published, source};

const DAY: Duration = Duration::from_hours(24);

async fn bare() -> (NatsServer, EventBridge, jetstream::Context) {
    let server = NatsServer::start().await.unwrap();
    let client = server.connect().await.unwrap();
    let context = jetstream::new(client.clone());
    (server, EventBridge::new(client, source()), context)
}

async fn config(context: &jetstream::Context, stream: &str) -> Config {
    context.get_stream(stream).await.unwrap().cached_info().config.clone()
}

#[tokio::test]
async fn the_defaults_are_those_of_the_contract() {
    let (_server, bridge, context) = bare().await;
    bridge.provision(&Topology::default()).await.unwrap();
    for (name, subjects) in [
        (EVENT_STREAM, vec!["strat.>", "stratt.redrive.>"]),
        (CHOCO_STREAM, vec![]),
        (DEAD_LETTER_STREAM, vec!["stratt.dlq.>"]),
    ] {
        let config = config(&context, name).await;
        assert_eq!(config.subjects, subjects);
        let window = Duration::from_mins(if name == CHOCO_STREAM { 1 } else { 2 });
        assert_eq!((config.max_age, config.duplicate_window), (30 * DAY, window));
        assert_eq!((config.storage, config.discard), (StorageType::File, DiscardPolicy::New));
    }
    let choco = config(&context, CHOCO_STREAM).await.sources.unwrap();
    assert_eq!((choco.len(), choco[0].name.as_str()), (1, EVENT_STREAM));
    let transforms = choco[0].subject_transforms.iter();
    let transforms: Vec<_> = transforms.map(|one| (&*one.source, &*one.destination)).collect();
    assert_eq!(transforms, [("strat.>", "choco.strat.>"), ("stratt.redrive.>", "choco.redrive.>")]);
    bridge.verify(&Topology::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provisioning_twice_and_from_many_at_once_is_harmless() {
    let (server, _, _) = bare().await;
    let topology = Topology::default().with_max_age(2 * DAY);
    let provisioned = (0..8).map(|_| {
        let (topology, url) = (topology.clone(), server.url().to_owned());
        tokio::spawn(async move {
            let bridge = EventBridge::new(async_nats::connect(url).await.unwrap(), source());
            bridge.provision(&topology).await.unwrap();
            bridge.provision(&topology).await.unwrap();
            bridge.verify(&topology).await.unwrap();
        })
    });
    for done in join_all(provisioned).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn what_can_be_changed_is_and_what_is_not_ours_stays() {
    let (_server, bridge, context) = bare().await;
    bridge.provision(&Topology::default()).await.unwrap();
    let mut theirs = config(&context, EVENT_STREAM).await;
    theirs.description = Some("of the operators".into());
    theirs.metadata.insert("team".into(), "platform".into());
    context.update_stream(&theirs).await.unwrap();

    let shorter = StreamSettings::default()
        .with_max_age(7 * DAY)
        .with_duplicate_window(Duration::from_mins(5))
        .with_max_messages(1000);
    let topology = Topology::default().with_events(shorter);
    let error = bridge.verify(&topology).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Mismatch);
    let fields: Vec<_> = error.differences().iter().map(|difference| difference.field().to_owned()).collect();
    assert_eq!(fields, ["max_age", "duplicate_window", "max_messages"]);
    bridge.provision(&topology).await.unwrap();
    bridge.verify(&topology).await.unwrap();
    let changed = config(&context, EVENT_STREAM).await;
    assert_eq!(changed.max_age, 7 * DAY);
    assert_eq!(changed.description.as_deref(), Some("of the operators"));
    assert_eq!(changed.metadata.get("team").map(String::as_str), Some("platform"));
}

#[tokio::test]
async fn immutable_settings_are_named_and_nothing_is_touched() {
    let (_server, bridge, context) = bare().await;
    bridge.provision(&Topology::default()).await.unwrap();
    let in_memory = StreamSettings::default().with_storage(Storage::Memory);
    let topology = Topology::default().with_max_age(DAY).with_dead_letters(in_memory);
    let error = bridge.provision(&topology).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Conflict);
    assert_eq!(error.to_string(), "STRATT_DLQ: storage is File, wanted Memory (cannot be changed)");
    assert_eq!(config(&context, EVENT_STREAM).await.max_age, 30 * DAY);
}

#[tokio::test]
async fn verifying_only_reads() {
    let (_server, bridge, context) = bare().await;
    let error = bridge.verify(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::NotFound);
    assert!(error.to_string().contains(EVENT_STREAM), "{error}");
    assert_eq!(context.stream_names().count().await, 0);
}

#[tokio::test]
async fn contradictory_settings_are_refused_untouched() {
    let (_server, bridge, context) = bare().await;
    let sized = |bytes| StreamSettings::default().with_max_message_size(bytes);
    let topologies = [
        (
            Topology::default().with_dead_letters(StreamSettings::default().with_max_age(DAY)),
            "STRATT_DLQ keeps",
        ),
        (
            Topology::default().with_choco(StreamSettings::default().with_max_age(Duration::ZERO)),
            "CHOCO_STRATT",
        ),
        (Topology::default().with_replicas(0), "no replicas"),
        (Topology::default().with_max_age(Duration::from_mins(1)), "duplicate window"),
        (Topology::default().with_events(StreamSettings::default().with_max_bytes(0)), "not positive"),
        (Topology::default().with_dead_letters(sized(4095)), "a dead letter may need 4096"),
        // Forwarding would stop for good at the first larger message.
        (Topology::default().with_choco(sized(100_000)), "but STRATT_EVENTS has no limit"),
        (Topology::default().with_events(sized(9000)).with_choco(sized(10_000)), "1024 more"),
    ];
    for (topology, said) in topologies {
        let error = bridge.provision(&topology).await.unwrap_err();
        assert_eq!(error.kind(), TopologyErrorKind::InvalidSettings);
        assert!(error.to_string().contains(said), "{error}");
    }
    let patient = BridgeOptions::default().with_retry_budget(Duration::MAX);
    let patient = EventBridge::with_options(bridge.client().clone(), source(), patient);
    let error = patient.provision(&Topology::default()).await.unwrap_err();
    assert!(error.to_string().contains("retry budget 86400s"), "{error}");
    assert_eq!(context.stream_names().count().await, 0);
}

#[tokio::test]
async fn the_broker_forwards_and_nobody_else_writes_to_choco() {
    let stage = Stage::new().await;
    let receipt = stage.bridge.publish(published("a", 1)).await.unwrap();
    let choco = stage.stream(Feed::Choco).await;
    let forwarded = support::eventually("forwarded event", || choco.get_raw_message(1), Result::is_ok).await;
    let forwarded = forwarded.unwrap();
    assert_eq!(forwarded.subject.as_str(), "choco.strat.dev.unit.published");
    let original = stage.stream(Feed::Strat).await.get_raw_message(receipt.sequence()).await.unwrap();
    assert_eq!(forwarded.payload, original.payload);
    assert_eq!(forwarded.headers.get("Nats-Msg-Id"), original.headers.get("Nats-Msg-Id"));
    let direct =
        stage.context().publish("choco.strat.dev.unit.published", "forged".into()).await.unwrap().await;
    assert!(direct.is_err());
}

#[tokio::test]
async fn a_full_stream_refuses_and_drops_nothing() {
    let (_server, bridge, _) = bare().await;
    let small = Topology::default().with_events(StreamSettings::default().with_max_messages(2));
    bridge.provision(&small).await.unwrap();
    for number in 1..=2 {
        bridge.publish(published("a", number)).await.unwrap();
    }
    let error = bridge.publish(published("a", 3)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::StreamFull);
    assert!(!error.is_outcome_unknown());
    assert!(bridge.publish(published("a", 1)).await.unwrap().is_duplicate());
    // A refused event is not taken for a repeat once there is room.
    bridge.provision(&Topology::default()).await.unwrap();
    let receipt = bridge.publish(published("a", 3)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (3, false));
}
