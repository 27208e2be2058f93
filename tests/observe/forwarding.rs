//! A watch of forwarding: its gauges and its log lines.

use std::time::Duration;
use stratt_event_bridge::topology::{EVENT_STREAM, Forwarding, ForwardingOptions, Topology};
use support::{Log, Metrics, Stage, eventually, published};

#[tokio::test]
async fn a_stall_and_its_end_are_logged_once_and_measured() {
    let (log, metrics) = (Log::listen(), Metrics::listen());
    let stage = Stage::new().await;
    let options = ForwardingOptions::default().with_interval(Duration::from_millis(100));
    let watch = stage.bridge.watch_forwarding(options.with_bound(Duration::from_millis(500)));
    assert_eq!(watch.current(), None);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let is = |proven: u64| {
        move |seen: &Option<Forwarding>| {
            seen.as_ref().is_some_and(|seen| seen.proven_up_to() == Some(proven) && !seen.is_stalled())
        }
    };
    let test = async {
        eventually("proof", || async { watch.current() }, is(1)).await;
        let fine = [("stratt_forwarding_stalled{}", 0.0), ("stratt_forwarding_behind{}", 0.0)];
        metrics.says(&fine);
        metrics
            .says(&[("stratt_forwarding_behind_seconds{}", 0.0), ("stratt_forwarding_heals_total{}", 0.0)]);
        stage.context().delete_stream(EVENT_STREAM).await.unwrap();
        let stalled = || async { metrics.value("stratt_forwarding_stalled{}") };
        eventually("stalled", stalled, |stalled| *stalled > 0.5).await;
        // Several looks: one line.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let line = "forwarding to Choco is stalled: STRATT_EVENTS does not exist: provision the topology";
        assert_eq!(log.count_all(&["ERROR", line]), 1);
        stage.bridge.provision(&Topology::default()).await.unwrap();
        stage.bridge.publish(published("b", 2)).await.unwrap();
        eventually("end", || async { watch.current() }, is(2)).await;
        metrics.says(&fine);
        assert!(log.count_all(&["INFO", "forwarding to Choco goes on: "]) >= 1);
    };
    tokio::select! {
        () = test => {}
        () = watch.run(std::future::pending()) => unreachable!(),
    }
}
