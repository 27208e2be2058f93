//! The work of the roles that consume.

use super::roles::{
    BUCKET, Role, all_answered, inbox, name, provisioned, with_bucket, with_durable, with_unreadable_event,
};
use async_nats::HeaderMap;
use futures::{FutureExt, TryStreamExt};
use std::sync::Arc;
use stratt_event_bridge::{
    ConsumerBuilder, Delivery, Envelope, EventBridge, Feed, HandlerError, Order, UnitDeprecated,
    UnitPublished,
    acl::ConsumerRole,
    async_nats,
    dead_letter::DeadLetterFilter,
    dedupe::{KvStoreOptions, MemoryStore},
};
use support::{Running, deprecated, eventually, published, quick, short, source};

pub fn roles() -> Vec<Role> {
    let ordered = ConsumerRole::new(Feed::Choco, name("ordered"))
        .creating_durable()
        .with_order(Order::PerUnit)
        .with_kv_store(BUCKET.parse().unwrap())
        .reading_dead_letters();
    let parking = ConsumerRole::new(Feed::Strat, name("parking"))
        .creating_durable()
        .with_order(Order::PerUnit)
        .with_stream_checks(false)
        .parking();
    let audit = ConsumerRole::new(Feed::Strat, name("audit")).creating_durable();
    let finder = ConsumerRole::new(Feed::Strat, name("finder"))
        .creating_durable()
        .with_stream_checks(false)
        .finding_unreadable_events();
    let plain = ConsumerRole::new(Feed::Choco, name("plain")).with_stream_checks(false);
    vec![
        Role {
            name: "ordered",
            permissions: ordered.permissions(&inbox("ordered")),
            prepare: with_bucket,
            work: |bridge, admin| consume_in_order(bridge, admin).boxed(),
        },
        Role {
            name: "parking",
            permissions: parking.permissions(&inbox("parking")),
            prepare: provisioned,
            work: |bridge, admin| park(bridge, admin).boxed(),
        },
        Role {
            name: "audit",
            permissions: audit.permissions(&inbox("audit")),
            prepare: provisioned,
            work: |bridge, admin| consume(two_types(&bridge), admin, Feed::Strat, "audit").boxed(),
        },
        Role {
            name: "finder",
            permissions: finder.permissions(&inbox("finder")),
            prepare: with_unreadable_event,
            work: |bridge, admin| find(bridge, admin).boxed(),
        },
        Role {
            name: "plain",
            permissions: plain.permissions(&inbox("plain")),
            prepare: with_durable,
            work: |bridge, admin| consume(unchecked(&bridge), admin, Feed::Choco, "plain").boxed(),
        },
    ]
}

/// Settles, retries or rejects an event, by its name.
async fn handle(delivery: Delivery<UnitPublished>) -> Result<(), HandlerError> {
    match delivery.event().uri.slug() {
        "poison" => Err(HandlerError::reject("poison")),
        "flaky" if delivery.attempt() == 1 => Err(HandlerError::retry("flaky")),
        _ => Ok(()),
    }
}

pub fn unchecked(bridge: &EventBridge) -> ConsumerBuilder {
    let builder = bridge.consumer("plain", Arc::new(MemoryStore::new())).feed(Feed::Choco).on(handle);
    builder.options(quick().with_stream_checks(false))
}

fn two_types(bridge: &EventBridge) -> ConsumerBuilder {
    let builder = bridge.consumer("audit", Arc::new(MemoryStore::new())).domain("dev".parse().unwrap());
    builder.on(handle).on(|_: Delivery<UnitDeprecated>| async { Ok(()) }).options(quick())
}

async fn consume(builder: ConsumerBuilder, admin: EventBridge, feed: Feed, durable: &str) {
    let running = Running::start(builder.build().await.unwrap());
    admin.publish(published("fine", 1)).await.unwrap();
    admin.publish(published("flaky", 2)).await.unwrap();
    admin.publish(published("poison", 3)).await.unwrap();
    admin.publish(deprecated("fine", 1)).await.unwrap();
    all_answered(&admin, feed, durable, 3).await;
    let summary = running.stop().await;
    assert!(summary.handled >= 2, "{summary:?}");
    assert_eq!((summary.rejected, summary.retried), (1, 1), "{summary:?}");
}

/// Dead-letters an event that async-nats cannot read, and handles the next ones.
async fn find(bridge: EventBridge, admin: EventBridge) {
    let builder = bridge.consumer("finder", Arc::new(MemoryStore::new())).on(handle);
    let builder = builder.options(short().with_stream_checks(false));
    let running = Running::start(builder.build().await.unwrap());
    admin.publish(published("fine", 1)).await.unwrap();
    all_answered(&admin, Feed::Strat, "finder", 2).await;
    assert_eq!(running.stop().await.handled, 1);
    let letters = admin.dead_letters();
    let letters: Vec<_> =
        letters.list(DeadLetterFilter::default()).await.unwrap().try_collect().await.unwrap();
    assert!(letters.len() == 1 && letters[0].are_headers_omitted(), "{letters:?}");
}

/// Does everything that a consumer needs a permission for: see the permissions of `ordered`.
async fn consume_in_order(bridge: EventBridge, admin: EventBridge) {
    let store = Arc::new(bridge.open_kv_store(KvStoreOptions::default()).await.unwrap());
    let context = admin.jetstream().clone();
    let builder = || bridge.consumer("ordered", store.clone()).feed(Feed::Choco);
    let ordered = || builder().on(handle).options(quick().with_order(Order::PerUnit));
    let running = Running::start(ordered().build().await.unwrap());
    for (slug, number) in [("fine", 1), ("flaky", 2), ("poison", 3)] {
        admin.publish(published(slug, number)).await.unwrap();
    }
    // Known to the store, not to the broker.
    let again = Envelope::builder(published("fine", 1), source()).build().unwrap();
    context.publish(again.subject(), again.encode().unwrap().into()).await.unwrap().await.unwrap();
    // The broker has a message under the id of the dead letter to come.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "CHOCO_STRATT:5:ordered");
    let foreign = context.publish_with_headers("stratt.dlq.ordered.x", headers, "other".into());
    foreign.await.unwrap().await.unwrap();
    admin.publish(published("poison", 5)).await.unwrap();
    all_answered(&admin, Feed::Choco, "ordered", 5).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.duplicates, summary.rejected), (2, 1, 2), "{summary:?}");
    // Another process takes over at once.
    let next = Running::start(ordered().build().await.unwrap());
    admin.publish(published("fine", 6)).await.unwrap();
    all_answered(&admin, Feed::Choco, "ordered", 6).await;
    assert_eq!(next.stop().await.handled, 1);
}

/// Parks an event behind a dead letter, and handles both once an operator has redriven the first.
async fn park(bridge: EventBridge, admin: EventBridge) {
    let builder = bridge.consumer("parking", Arc::new(MemoryStore::new()));
    let options = quick().with_order(Order::PerUnit).with_parking(true).with_stream_checks(false);
    let builder = builder.options(options).on(|delivery: Delivery<UnitPublished>| async move {
        if delivery.is_redriven() { Ok(()) } else { Err(HandlerError::reject("not yet")) }
    });
    let running = Running::start(builder.build().await.unwrap());
    admin.publish(published("unit", 1)).await.unwrap();
    admin.publish(published("unit", 2)).await.unwrap();
    all_answered(&admin, Feed::Strat, "parking", 2).await;
    let letters = admin.dead_letters();
    let count = || async {
        let found = letters.list(DeadLetterFilter::default()).await.unwrap();
        found.try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!(count().await, 2);
    letters.redrive(1).await.unwrap();
    eventually("letters", count, |count| *count == 0).await;
    all_answered(&admin, Feed::Strat, "parking", 4).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.rejected, summary.parked), (2, 1, 1), "{summary:?}");
}
