//! The test cluster itself: what other tests rely on.

use async_nats::jetstream::{self, consumer::pull, stream};
use std::time::Duration;
use stratt_event_bridge::{async_nats, testing::NatsCluster};
use support::eventually;
use tokio::time::timeout;

async fn create_stream(context: &jetstream::Context) {
    let config = stream::Config {
        name: "S".into(),
        subjects: vec!["s".into()],
        num_replicas: 3,
        ..stream::Config::default()
    };
    // A new cluster may take its time for the first stream.
    let create = || async { context.create_stream(config.clone()).await.map(drop) };
    eventually("creation of a stream", create, Result::is_ok).await.unwrap();
}

async fn publish(context: &jetstream::Context) -> u64 {
    let publish = || async { context.publish("s", "kept".into()).await.unwrap().await.ok() };
    eventually("acknowledgement", publish, Option::is_some).await.unwrap().sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_comes_back() {
    let mut cluster = NatsCluster::start(3).await.unwrap();
    let context = jetstream::new(cluster.connect().await.unwrap());
    create_stream(&context).await;
    cluster.wait_until_healthy("S").await.unwrap();
    let durable = pull::Config { durable_name: Some("d".into()), ..pull::Config::default() };
    context.create_consumer_on_stream(durable, "S").await.unwrap();
    let (urls, led) = (cluster.urls(), cluster.stream_leader("S").await.unwrap());
    cluster.nodes_mut()[led].kill();
    let leads = eventually("leader", || async { cluster.stream_leader("S").await.unwrap() }, |l| *l != led);
    leads.await;
    assert_ne!(cluster.consumer_leader("S", "d").await.unwrap(), led);
    // Not healthy while a replica is away.
    let healthy = timeout(Duration::from_secs(1), cluster.wait_until_healthy("S"));
    assert!(healthy.await.is_err());
    cluster.restart_killed().await.unwrap();
    cluster.wait_until_healthy("S").await.unwrap();
    assert_eq!(cluster.urls(), urls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_killed_and_come_back_with_their_data() {
    let mut cluster = NatsCluster::start(3).await.unwrap();
    let context = jetstream::new(cluster.connect().await.unwrap());
    create_stream(&context).await;
    publish(&context).await;
    for node in cluster.nodes_mut() {
        node.kill();
    }
    assert!(cluster.connect().await.is_err());
    cluster.restart_killed().await.unwrap();
    cluster.wait_until_healthy("S").await.unwrap();
    let kept = context.get_stream("S").await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!(kept.payload, "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_paused_or_retires_leaves_its_lead_to_another() {
    let mut cluster = NatsCluster::start(3).await.unwrap();
    let context = jetstream::new(cluster.connect().await.unwrap());
    create_stream(&context).await;
    let led = cluster.stream_leader("S").await.unwrap();
    cluster.nodes_mut()[led].lame_duck().await.unwrap();
    assert_eq!(cluster.nodes()[led].pid(), None);
    assert_ne!(cluster.stream_leader("S").await.unwrap(), led);
    publish(&context).await;
    cluster.restart_killed().await.unwrap();
    cluster.wait_until_healthy("S").await.unwrap();
    let led = cluster.stream_leader("S").await.unwrap();
    cluster.nodes()[led].pause().unwrap();
    eventually("leader", || async { cluster.stream_leader("S").await.unwrap() }, |leads| *leads != led).await;
    cluster.nodes()[led].resume().unwrap();
    cluster.wait_until_healthy("S").await.unwrap();
    publish(&context).await;
}

#[tokio::test]
async fn what_is_no_cluster_or_no_stream_is_an_error_that_says_so() {
    let error = NatsCluster::start(1).await.unwrap_err();
    assert!(error.to_string().contains("two nodes"), "{error}");
    let cluster = NatsCluster::start(2).await.unwrap();
    let error = cluster.stream_leader("nowhere").await.unwrap_err();
    assert!(error.to_string().contains("stream not found"), "{error}");
    assert_eq!(cluster.index_of("nobody"), None);
}
