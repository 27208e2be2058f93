//! The work of every role, as a service does it; an administrator does what others would do.

use super::{
    consuming::{self, unchecked},
    guarded::{Guarded, User, server, with_strict_order},
    jwt::bearer,
    place::Place,
};
use async_nats::{
    HeaderMap,
    jetstream::{self, consumer::pull},
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde::de::IgnoredAny;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    AnyEvent, ConsumerName, Delivery, Envelope, EventBridge, EventType, Feed,
    acl::{
        Inbox, LiveReaderRole, OperatorRole, Permissions, ProvisionerRole, PublisherRole, ReaderRole,
        WatcherRole,
    },
    async_nats,
    dead_letter::DeadLetterFilter,
    dedupe::{KvStoreOptions, MemoryStore},
    testing::NatsServer,
    topology::{StreamSettings, Topology, TopologyErrorKind},
    watch::{WatchErrorKind, WatchFrom, WatchOptions},
};
use support::{NEWEST, eventually, one_of_each, published, raw_publish, source};
use time::OffsetDateTime;

/// A role with its permissions, and its work, which panics if it cannot be done.
pub struct Role {
    pub name: &'static str,
    pub permissions: Permissions,
    pub prepare: fn(EventBridge) -> BoxFuture<'static, ()>,
    pub work: fn(EventBridge, EventBridge) -> BoxFuture<'static, ()>,
}

pub const BUCKET: &str = "STRATT_DEDUPE";

pub fn inbox(user: &str) -> Inbox {
    Inbox::of_user(user).unwrap()
}

pub fn name(text: &str) -> ConsumerName {
    text.parse().unwrap()
}

pub fn all() -> Vec<Role> {
    let dev = || ["dev".parse().unwrap()];
    let publisher = PublisherRole::of(dev());
    let reader = ReaderRole::new(name("reader"));
    let provisioner = ProvisionerRole::default().with_kv_store(BUCKET.parse().unwrap()).with_durable_source();
    let mut roles = vec![
        Role {
            name: "publisher",
            permissions: publisher.permissions(&inbox("publisher")),
            prepare: provisioned,
            work: |bridge, _| publish(bridge).boxed(),
        },
        Role {
            name: "verifier",
            permissions: PublisherRole::of(dev()).with_verify_duplicates().permissions(&inbox("verifier")),
            prepare: provisioned,
            work: |bridge, _| publish_verified(bridge).boxed(),
        },
        Role {
            name: "ready",
            permissions: PublisherRole::of(dev()).checking_stream().permissions(&inbox("ready")),
            prepare: provisioned,
            work: |bridge, _| publish_when_ready(bridge).boxed(),
        },
        Role {
            name: "reader",
            permissions: reader.permissions(&inbox("reader")),
            prepare: with_durable,
            work: |bridge, admin| read(bridge, admin).boxed(),
        },
        Role {
            name: "operator",
            permissions: OperatorRole.permissions(&inbox("operator")),
            prepare: with_letters,
            work: |bridge, _| operate(bridge).boxed(),
        },
        Role {
            name: "provisioner",
            permissions: provisioner.permissions(&inbox("provisioner")),
            prepare: |_| async {}.boxed(),
            work: |bridge, _| provision(bridge).boxed(),
        },
        Role {
            name: "live-reader",
            permissions: LiveReaderRole::new(Feed::Strat, name("cache")).permissions(&inbox("live-reader")),
            prepare: with_unreadable_event,
            work: |bridge, admin| read_live(bridge, admin).boxed(),
        },
        Role {
            name: "watcher",
            permissions: WatcherRole::default()
                .healing()
                .with_durable_source()
                .permissions(&inbox("watcher")),
            prepare: with_durable_source,
            work: |bridge, admin| watch(bridge, admin).boxed(),
        },
    ];
    roles.extend(consuming::roles());
    roles
}

pub fn provisioned(admin: EventBridge) -> BoxFuture<'static, ()> {
    async move { admin.provision(&Topology::default()).await.unwrap() }.boxed()
}

fn with_durable_source(admin: EventBridge) -> BoxFuture<'static, ()> {
    async move { admin.provision(&Topology::default().with_durable_source(true)).await.unwrap() }.boxed()
}

pub fn with_bucket(admin: EventBridge) -> BoxFuture<'static, ()> {
    async move {
        provisioned(admin.clone()).await;
        admin.create_kv_store(KvStoreOptions::default()).await.unwrap();
    }
    .boxed()
}

/// Stores an event that async-nats cannot read.
pub fn with_unreadable_event(admin: EventBridge) -> BoxFuture<'static, ()> {
    async move {
        provisioned(admin.clone()).await;
        let server = admin.client().server_info();
        // Only a server in operator mode gives a nonce to be signed.
        let admin = if server.nonce.is_empty() { "admin:pw".into() } else { format!("jwt:{}", bearer()) };
        let url = format!("nats://{admin}@{}:{}", server.host, server.port);
        raw_publish(&url, "strat.dev.unit.published", b"NATS/1.0\r\nno colon\r\n\r\n", b"{}").await;
    }
    .boxed()
}

/// Creates the durables for roles that may not create their own.
pub fn with_durable(admin: EventBridge) -> BoxFuture<'static, ()> {
    async move {
        provisioned(admin.clone()).await;
        drop(unchecked(&admin).build().await.unwrap());
        let config = pull::Config {
            durable_name: Some("reader".into()),
            filter_subject: "choco.strat.dev.unit.published".into(),
            ..pull::Config::default()
        };
        let context = admin.jetstream().clone();
        context.create_consumer_on_stream(config, Feed::Choco.stream()).await.unwrap();
    }
    .boxed()
}

/// Stores events of every type, and for each of them a dead letter of a consumer of each feed. Two have their bytes
/// only in the streams.
pub fn with_letters(admin: EventBridge) -> BoxFuture<'static, ()> {
    async move {
        provisioned(admin.clone()).await;
        for (index, event) in one_of_each().into_iter().enumerate() {
            let envelope = Envelope::builder(event, source()).build().unwrap();
            admin.publish_envelope(&envelope).await.unwrap();
            for feed in [Feed::Strat, Feed::Choco] {
                store_letter(&admin, feed, &envelope, index + 1).await;
            }
        }
        for feed in [Feed::Strat, Feed::Choco] {
            let consumer = admin.consumer("c", Arc::new(MemoryStore::new())).feed(feed);
            drop(consumer.on(|_: Delivery<AnyEvent>| async { Ok(()) }).build().await.unwrap());
        }
    }
    .boxed()
}

/// Stores a dead letter of the event at a sequence, which it waits for.
async fn store_letter(admin: &EventBridge, feed: Feed, envelope: &Envelope<AnyEvent>, sequence: usize) {
    let context = admin.jetstream().clone();
    let stored = || async { context.get_stream(feed.stream()).await.unwrap().cached_info().state.messages };
    eventually("stored", stored, |messages| *messages == sequence as u64).await;
    let mut headers = HeaderMap::new();
    headers.insert("Strat-Dead-Letter-Consumer", "c");
    headers.insert("Strat-Dead-Letter-Subject", feed.subject(envelope.domain(), envelope.event_type()));
    headers.insert("Strat-Dead-Letter-Stream", feed.stream());
    headers.insert("Strat-Dead-Letter-Sequence", sequence.to_string());
    if envelope.event_type() == EventType::UnitPublished {
        headers.insert("Strat-Dead-Letter-Payload-Omitted", "1");
    }
    let subject = format!("stratt.dlq.c.{}", envelope.subject().trim_start_matches("strat."));
    let letter = context.publish_with_headers(subject, headers, envelope.encode().unwrap().into());
    letter.await.unwrap().await.unwrap();
}

async fn publish(bridge: EventBridge) {
    let envelopes =
        one_of_each().into_iter().map(|event| Envelope::builder(event, source()).build().unwrap());
    let receipts: Vec<_> = bridge.publish_all(stream::iter(envelopes)).try_collect().await.unwrap();
    assert_eq!(receipts.len(), 7);
    bridge.publish(published("again", 9)).await.unwrap();
}

async fn publish_when_ready(bridge: EventBridge) {
    bridge.jetstream().clone().get_stream(Feed::Strat.stream()).await.unwrap();
    publish(bridge).await;
}

async fn publish_verified(bridge: EventBridge) {
    publish(bridge.clone()).await;
    let options = bridge.options().with_verify_duplicates(true);
    let verifying = EventBridge::with_options(bridge.client().clone(), source(), options);
    assert!(verifying.publish(published("again", 9)).await.unwrap().is_duplicate());
}

pub async fn all_answered(admin: &EventBridge, feed: Feed, durable: &str, sequence: u64) {
    let stream = admin.jetstream().clone().get_stream(feed.stream()).await.unwrap();
    let left = || async {
        let info = stream.consumer_info(durable).await.unwrap();
        (info.delivered.stream_sequence >= sequence, info.num_pending, info.num_ack_pending)
    };
    eventually("left", left, |left| *left == (true, 0, 0)).await;
}

/// Reads with a client that knows nothing of this crate.
async fn read(bridge: EventBridge, admin: EventBridge) {
    admin.publish(published("fine", 1)).await.unwrap();
    let context = bridge.jetstream().clone();
    let durable: jetstream::consumer::PullConsumer =
        context.get_consumer_from_stream("reader", Feed::Choco.stream()).await.unwrap();
    let mut messages =
        durable.batch().max_messages(1).expires(Duration::from_secs(20)).messages().await.unwrap();
    let message = messages.next().await.unwrap().unwrap();
    bridge.client().request(message.message.reply.clone().unwrap(), "+ACK".into()).await.unwrap();
    all_answered(&admin, Feed::Choco, "reader", 1).await;
}

async fn operate(bridge: EventBridge) {
    let dead_letters = bridge.dead_letters();
    let found: Vec<_> =
        dead_letters.list(DeadLetterFilter::default()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(found.len(), 14);
    for letter in &found {
        let shown = dead_letters.get(letter.sequence()).await.unwrap();
        dead_letters.redrive(shown.sequence()).await.unwrap();
    }
    let gone = dead_letters.discard(1).await.unwrap_err();
    assert_eq!(gone.kind(), stratt_event_bridge::dead_letter::DeadLetterErrorKind::NotFound);
    let durables = bridge.durables();
    for feed in [Feed::Strat, Feed::Choco] {
        let name = durables.list(feed).await.unwrap().first().unwrap().name().parse().unwrap();
        if bridge.client().is_server_compatible(2, 11, 0) {
            let until = OffsetDateTime::now_utc() + Duration::from_hours(1);
            assert!(durables.pause(feed, &name, until).await.unwrap());
            assert!(!durables.resume(feed, &name).await.unwrap());
        } else {
            // The bridge asks no server that does not know pauses.
            let subject = format!("CONSUMER.PAUSE.{}.{name}", feed.stream());
            bridge.jetstream().request::<_, _, IgnoredAny>(subject, &()).await.unwrap_err();
        }
    }
}

async fn provision(bridge: EventBridge) {
    bridge.provision(&Topology::default()).await.unwrap();
    let changed = Topology::default().with_max_age(Duration::from_hours(1));
    bridge.provision(&changed).await.unwrap();
    bridge.verify(&changed).await.unwrap();
    for durable in [true, true, false] {
        bridge.provision(&changed.clone().with_durable_source(durable)).await.unwrap();
    }
    let longer = StreamSettings::default();
    bridge.provision(&changed.with_dead_letters(longer)).await.unwrap();
    eventually("forwarding", || async { bridge.forwarding().await.unwrap() }, |seen| !seen.is_stalled())
        .await;
    bridge.create_kv_store(KvStoreOptions::default()).await.unwrap();
}

async fn watch(bridge: EventBridge, admin: EventBridge) {
    let sequence = admin.publish(published("fine", 1)).await.unwrap().sequence();
    let seen = || async { bridge.forwarding().await.unwrap().proven_up_to() };
    eventually("proof", seen, |proven| *proven == Some(sequence)).await;
    let error = bridge.heal_forwarding().await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Refused);
}

async fn read_live(bridge: EventBridge, admin: EventBridge) {
    let options = WatchOptions::default().with_name(name("cache")).with_from(WatchFrom::Oldest);
    let mut live = bridge.watch(Feed::Strat).options(options).open().await.unwrap();
    let error = live.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), WatchErrorKind::Unreadable);
    admin.publish(published("fine", 1)).await.unwrap();
    live.next().await.unwrap().unwrap();
}

pub async fn stage(role: &Role, place: Place, permissions: String, more: &str) -> (Guarded, User) {
    // Durable sources need the newest server.
    let server = match role.name {
        "provisioner" | "watcher" => NatsServer::builder().config(more).version(NEWEST),
        "ordered" | "parking" if more.is_empty() => with_strict_order().await,
        _ => server(more),
    };
    let guarded = place.guarded(server, &[(role.name, permissions)]).await;
    (role.prepare)(guarded.admin.clone()).await;
    let user = guarded.user(role.name).await;
    (guarded, user)
}
