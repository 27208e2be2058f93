//! Healing of forwarding that is stalled, on clusters.

use super::forwarding::{STALLING, TWO_ACCOUNTS, bridge_of, stall};
use async_nats::{HeaderMap, jetstream};
use std::time::Duration;
use stratt_event_bridge::{
    Feed, async_nats,
    testing::NatsCluster,
    topology::{CHOCO_STREAM, Forwarding, ForwardingOptions, ForwardingWatch, TopologyErrorKind},
};
use support::{ClusterStage, eventually};
use tokio::{task::JoinHandle, time::sleep};

/// Longer than forwarding takes in a cluster that is well.
const BOUND: Duration = Duration::from_secs(4);

fn options() -> ForwardingOptions {
    ForwardingOptions::default()
        .with_interval(Duration::from_millis(100))
        .with_bound(BOUND)
        .with_healing(true)
}

fn start(watch: &ForwardingWatch) -> JoinHandle<()> {
    let watch = watch.clone();
    tokio::spawn(async move { watch.run(std::future::pending()).await })
}

async fn seen(watch: &ForwardingWatch, wanted: impl Fn(&Forwarding) -> bool) -> Forwarding {
    let is_wanted = |seen: &Option<Forwarding>| seen.as_ref().is_some_and(&wanted);
    eventually("seen", || async { watch.current() }, is_wanted).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_window_dropped_is_forwarded_by_one_heal() {
    let stage = ClusterStage::on_cluster().await;
    for (feed, window) in [(Feed::Choco, 3000), (Feed::Strat, 100)] {
        let mut config = stage.stream(feed).await.cached_info().config.clone();
        config.duplicate_window = Duration::from_millis(window);
        stage.context().update_stream(config).await.unwrap();
    }
    let context = stage.context();
    let publish = || async {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "again");
        let sent = context.publish_with_headers("strat.dev.unit.published", headers, "{}".into());
        sent.await.unwrap().await.unwrap()
    };
    let first = publish().await.sequence;
    let watch = stage.bridge.watch_forwarding(options());
    eventually(
        "first",
        || async { watch.look().await.ok()?.proven_up_to() },
        |proven| *proven == Some(first),
    )
    .await;
    let again = eventually("repeat", publish, |ack| !ack.duplicate).await.sequence;
    let led = stage.server.stream_leader(CHOCO_STREAM).await.unwrap();
    let running = start(&watch);
    seen(&watch, |seen| seen.behind() == Some(1)).await;
    let healed = seen(&watch, |seen| seen.proven_up_to() == Some(again)).await;
    assert!(!healed.is_stalled() && !healed.lacks_flow_control(), "{healed}");
    assert_ne!(stage.server.stream_leader(CHOCO_STREAM).await.unwrap(), led);
    // By the watch, and therefore by nobody else so soon.
    for error in [watch.heal().await.unwrap_err(), stage.bridge.heal_forwarding().await.unwrap_err()] {
        assert_eq!(error.kind(), TopologyErrorKind::TooSoon);
        assert!(error.to_string().contains("less than 5 minutes ago: wait for "), "{error}");
    }
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_that_comes_again_is_named_and_not_healed() {
    let config = format!("no_auth_user: choco\n{TWO_ACCOUNTS}");
    let cluster = NatsCluster::start_with(3, &config).await.unwrap();
    let url = cluster.nodes()[0].url();
    let (stratt, choco) = (bridge_of(url, "stratt").await, bridge_of(url, "choco").await);
    stall(&stratt, &choco, 3).await;
    let watch = choco.watch_forwarding_from(&stratt, options());
    let first = watch.look().await.unwrap().proven_up_to().unwrap();
    let running = start(&watch);
    seen(&watch, Forwarding::is_stalled).await;
    // Where the broker reports the reason (2.15), the watch does not heal, which would be of no use.
    match watch.heal().await {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), TopologyErrorKind::TooSoon, "{error}"),
    }
    let named = seen(&watch, |seen| seen.lacks_flow_control() && seen.proven_up_to() > Some(first)).await;
    assert!(named.to_string().contains("import $JS.FC.STRATT_EVENTS.*.* into the account"), "{named}");
    assert!(named.behind() > Some(STALLING / 4), "{named}");
    // Each heal would let one more window through.
    sleep(2 * BOUND).await;
    assert_eq!(watch.current().unwrap().proven_up_to(), named.proven_up_to());
    let info = jetstream::new(choco.client().clone()).get_stream(CHOCO_STREAM).await.unwrap();
    assert_eq!(Some(info.cached_info().state.last_sequence), named.proven_up_to());
    running.abort();
}
