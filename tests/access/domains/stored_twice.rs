//! A hub and a leaf node with streams for the same subjects: both would store each event.

use futures::{StreamExt, stream};
use std::error::Error;
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, PublishError, PublishErrorKind,
    async_nats::jetstream::{self, stream::Config},
    topology::{Topology, TopologyErrorKind},
};
use support::{HubAndLeaf, LeafStage, hub_domain, published, source};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_stream_is_found_and_nothing_is_touched() {
    let server = HubAndLeaf::start().await;
    let client = server.leaf.connect().await.unwrap();
    let options = BridgeOptions::default().with_jetstream_domain(hub_domain());
    let bridge = EventBridge::with_options(client.clone(), source(), options);
    let config = Config { name: "MINE".into(), subjects: vec!["strat.dev.>".into()], ..Config::default() };
    jetstream::new(client.clone()).create_stream(config).await.unwrap();
    let error = bridge.provision(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::StoredTwice, "{error}");
    let wanted = "stream MINE in domain leaf takes strat.> as well as STRATT_EVENTS behind $JS.hub.API";
    assert!(error.to_string().contains(wanted), "{error}");
    let there = jetstream::new(server.hub.connect().await.unwrap());
    assert_eq!(there.stream_names().count().await, 0);

    jetstream::new(client.clone()).delete_stream("MINE").await.unwrap();
    bridge.provision(&Topology::default()).await.unwrap();
    EventBridge::new(client, source()).provision(&Topology::default()).await.unwrap();
    let error = bridge.verify(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::StoredTwice, "{error}");
}

fn is_refused(error: &PublishError) {
    assert_eq!(error.kind(), PublishErrorKind::WrongDomain, "{error}");
    assert!(error.is_outcome_unknown());
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("STRATT_EVENTS of domain leaf"), "{cause}");
    assert!(cause.contains("the bridge is for domain hub"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_domain_acknowledges_is_no_success() {
    let stage = LeafStage::on_leaf(HubAndLeaf::start().await).await;
    let (hub, leaf) = (&stage.bridge, EventBridge::new(stage.client.clone(), source()));
    assert_eq!(hub.publish(published("a", 1)).await.unwrap().domain(), Some("hub"));
    // Without the stream of the hub, that of the leaf node is the only one to acknowledge.
    hub.jetstream().delete_stream("STRATT_EVENTS").await.unwrap();
    leaf.provision(&Topology::default().with_batches(true)).await.unwrap();
    is_refused(&hub.publish(published("a", 2)).await.unwrap_err());
    let envelope = |number| Envelope::builder(published("a", number), source()).build().unwrap();
    let outcomes: Vec<_> = hub.publish_all(stream::iter([envelope(3), envelope(4)])).collect().await;
    for outcome in outcomes {
        is_refused(&outcome.unwrap_err());
    }
    if stage.client.is_server_compatible(2, 12, 0) {
        is_refused(&hub.publish_batch(&[envelope(5), envelope(6)]).await.unwrap_err());
        // Known already, and looked up.
        is_refused(&hub.publish_batch(&[envelope(5), envelope(6)]).await.unwrap_err());
    }
    let receipt = leaf.publish(published("a", 8)).await.unwrap();
    assert_eq!(receipt.domain(), Some("leaf"));
}
