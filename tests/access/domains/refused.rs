//! Missing permissions in the domain of a hub: reported at once and by the subject that was refused.

use crate::acl::guarded::{Guarded, User};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, ConsumeError, ConsumeErrorKind, ConsumerBuilder, ConsumerOptions, Delivery, EventBridge,
    Feed, UnitPublished,
    acl::{ConsumerRole, Inbox},
    dedupe::MemoryStore,
    testing::NatsServer,
    topology::{Topology, TopologyErrorKind},
};
use support::{Running, hub_domain, published, quick, source};
use tokio::time::Instant;

/// Where the user connects.
#[derive(Clone, Copy)]
enum At {
    Leaf,
    Hub,
}

async fn stage_without(subject: &str, at: At) -> (Guarded, User) {
    let role = ConsumerRole::new(Feed::Choco, "adapter".parse().unwrap()).creating_durable();
    let permissions = role.permissions(&Inbox::of_user("user").unwrap());
    let permissions = match at {
        At::Leaf => permissions.with_jetstream_domain(hub_domain()),
        At::Hub => permissions,
    };
    let (permissions, quoted) = (permissions.to_string(), format!("\"{subject}\""));
    assert!(permissions.contains(&quoted), "{permissions}");
    let users = [("user", permissions.replace(&quoted, "\"nothing\""))];
    let guarded = match at {
        At::Leaf => Guarded::on_leaf(NatsServer::builder(), &users).await,
        At::Hub => Guarded::in_domain(NatsServer::builder(), &users).await,
    };
    guarded.admin.provision(&Topology::default()).await.unwrap();
    let user = guarded.user("user").await;
    (guarded, user)
}

fn consumer(bridge: &EventBridge, options: ConsumerOptions) -> ConsumerBuilder {
    let builder = bridge.consumer("adapter", Arc::new(MemoryStore::new())).feed(Feed::Choco);
    builder.options(options).on(|_: Delivery<UnitPublished>| async { Ok(()) })
}

fn names(error: &ConsumeError, subject: &str, begun: Instant) {
    assert_eq!(error.kind(), ConsumeErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains(&format!("publish to {subject}")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

async fn building_names(at: At, prefix: &str) {
    for request in [
        "STREAM.INFO.CHOCO_STRATT",
        "CONSUMER.INFO.CHOCO_STRATT.adapter",
        "CONSUMER.CREATE.CHOCO_STRATT.adapter",
    ] {
        let subject = format!("{prefix}.{request}");
        let (_guarded, user) = stage_without(&subject, at).await;
        let begun = Instant::now();
        names(&consumer(&user.bridge, quick()).build().await.unwrap_err(), &subject, begun);
    }
}

async fn running_names(at: At, prefix: &str) {
    let subject = format!("{prefix}.CONSUMER.MSG.NEXT.CHOCO_STRATT.adapter");
    let (_guarded, user) = stage_without(&subject, at).await;
    let running = Running::start(consumer(&user.bridge, quick()).build().await.unwrap());
    let begun = Instant::now();
    names(&running.failure().await, &subject, begun);

    let (guarded, user) = stage_without("$JS.ACK.CHOCO_STRATT.adapter.*.*.*.*.*", at).await;
    let running = Running::start(consumer(&user.bridge, quick()).build().await.unwrap());
    let begun = Instant::now();
    guarded.admin.publish(published("a", 1)).await.unwrap();
    names(&running.failure().await, "$JS.ACK.CHOCO_STRATT.adapter.", begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_node_names_the_subject_with_its_domain() {
    building_names(At::Leaf, "$JS.hub.API").await;
    running_names(At::Leaf, "$JS.hub.API").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_of_the_domain_names_it_without() {
    building_names(At::Hub, "$JS.API").await;
    running_names(At::Hub, "$JS.API").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_no_server_has_is_named() {
    let server = NatsServer::start().await.unwrap();
    let options = BridgeOptions::default().with_jetstream_domain(hub_domain());
    let bridge = EventBridge::with_options(server.connect().await.unwrap(), source(), options);
    let error = bridge.provision(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Unavailable);
    let wanted = "no JetStream answers behind $JS.hub.API: is that its domain or prefix?";
    assert_eq!(error.to_string(), wanted);
}
