//! Advisories of the server, which reach every JetStream domain of an account.

use super::work::terminate_first;
use futures::TryStreamExt;
use stratt_event_bridge::{
    Feed,
    async_nats::jetstream::{self, stream::Config},
    dead_letter::DeadLetterFilter,
    topology::{ADVISORY_STREAM, EVENT_STREAM, StreamSettings},
};
use support::{HubAndLeaf, LeafStage, eventually, published};
use tokio::sync::oneshot;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_about_a_stream_of_another_domain_is_ignored() {
    let stage = LeafStage::on_leaf(HubAndLeaf::start().await).await;
    stage.bridge.publish(published("fine", 1)).await.unwrap();
    let sweeper = stage.bridge.sweeper(Feed::Strat);
    sweeper.provision(&StreamSettings::default()).await.unwrap();
    // A stream of the same name, of something else.
    let leaf = jetstream::new(stage.client.clone());
    let config = Config { name: EVENT_STREAM.into(), subjects: vec!["local.>".into()], ..Config::default() };
    leaf.create_stream(config).await.unwrap();
    leaf.publish("local.a", "{}".into()).await.unwrap().await.unwrap();
    terminate_first(&leaf, EVENT_STREAM).await;
    let left =
        || async { stage.context().get_stream(ADVISORY_STREAM).await.unwrap().cached_info().state.messages };
    eventually("advisories", left, |left| *left == 1).await;

    let (stop, stopped) = oneshot::channel::<()>();
    let sweeping = tokio::spawn(async move { sweeper.run(async { stopped.await.unwrap() }).await });
    eventually("advisories", left, |left| *left == 0).await;
    stop.send(()).unwrap();
    let summary = sweeping.await.unwrap().unwrap();
    assert_eq!((summary.ignored, summary.rejected), (1, 0), "{summary:?}");
    let letters = stage.bridge.dead_letters().list(DeadLetterFilter::default()).await.unwrap();
    assert!(letters.try_collect::<Vec<_>>().await.unwrap().is_empty());
}
