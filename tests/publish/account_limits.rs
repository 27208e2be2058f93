//! Limits of the account, reported as such: storage, streams, consumers.

use async_nats::{ConnectOptions, jetstream};
use std::{error::Error, sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConsumeErrorKind, Delivery, Event, EventBridge, PublishErrorKind, UnitPublished, async_nats,
    dedupe::{DedupeStore, KvStore, KvStoreOptions, MemoryStore, Slot, StoreErrorKind},
    testing::NatsServer,
    topology::{StreamSettings, Topology, TopologyErrorKind},
};
use support::{published, quick, source};

/// A server whose account has these limits, and a bridge on it.
async fn limited(limits: &str) -> (NatsServer, EventBridge) {
    let account = format!(
        "accounts {{ A {{ jetstream {{ {limits} }}, users: [{{ user: service, password: pw }}] }} }}"
    );
    let server = NatsServer::builder().config(account).start().await.unwrap();
    let options = ConnectOptions::with_user_and_password("service".into(), "pw".into());
    let bridge = EventBridge::new(options.connect(server.url()).await.unwrap(), source());
    (server, bridge)
}

fn cause(error: &impl Error) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
async fn storage_of_the_account_that_is_used_up_is_told() {
    let (_server, bridge) = limited("max_file: 64KB").await;
    bridge.provision(&Topology::default()).await.unwrap();
    let store = KvStore::create(bridge.client().clone(), KvStoreOptions::default()).await.unwrap();
    let large = |number| published("a", number).with_actor("x".repeat(10_000));
    let mut refused = None;
    for number in 1..20 {
        refused = bridge.publish(large(number)).await.err();
        if refused.is_some() {
            break;
        }
    }
    let error = refused.expect("no limit");
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::LimitReached, false));
    assert!(cause(&error).contains("10002"), "{}", cause(&error));
    // A slot is smaller, so some more may fit.
    for number in 1..1000 {
        let slot = Slot::new("c".parse().unwrap(), published("a", number).idempotency_key());
        if let Err(error) = store.claim(&slot, Duration::from_secs(40)).await {
            return assert_eq!(error.kind(), StoreErrorKind::Full, "{}", cause(&error));
        }
    }
    panic!("no limit");
}

#[tokio::test]
async fn more_streams_or_storage_than_the_account_may_have_is_told() {
    let (_server, bridge) = limited("max_streams: 2").await;
    let error = bridge.provision(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::LimitReached, "{error}: {}", cause(&error));
    assert!(error.to_string().contains("STRATT_DLQ"), "{error}");
    let error = KvStore::create(bridge.client().clone(), KvStoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error}: {}", cause(&error));

    let (_server, bridge) = limited("max_file: 1MB").await;
    let large = StreamSettings::default().with_max_bytes(10 << 20);
    let error = bridge.provision(&Topology::default().with_events(large)).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::LimitReached, "{error}: {}", cause(&error));
}

#[tokio::test]
async fn more_consumers_than_the_account_may_have_is_told() {
    let (_server, bridge) = limited("max_consumers: 1").await;
    bridge.provision(&Topology::default()).await.unwrap();
    let build = |name| {
        let builder = bridge.consumer(name, Arc::new(MemoryStore::new())).options(quick());
        builder.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build()
    };
    drop(build("first").await.unwrap());
    let error = build("second").await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::LimitReached, "{error}: {}", cause(&error));
    assert_eq!(
        error.to_string(),
        "durable second cannot be created: a limit of the account or the stream is reached"
    );
    // So is a limit of the stream.
    let context = jetstream::new(bridge.client().clone());
    assert!(context.get_stream("STRATT_EVENTS").await.unwrap().consumer_info("first").await.is_ok());
}
