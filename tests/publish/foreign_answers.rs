//! Foreign answers to a publish that arrive before that of the stream: they do not count.

use futures::{StreamExt, stream};
use stratt_event_bridge::{
    Envelope, EventBridge, Feed, PublishError, PublishReceipt, UnitPublished, async_nats,
    testing::NatsServer, topology::Topology,
};
use support::{Stage, published, source};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

/// Answers that are not of JetStream; `{}` looks most like one. An empty answer is that to a part of a batch.
const ANSWERS: [&str; 5] = ["hello", "", "{}", r#"{"error":"no such unit"}"#, r#"{"stream":"S","seq":-1}"#];

/// Starts a server that syncs each write, so that others are faster, and a subscriber that answers everything that is
/// published.
async fn stage() -> (Stage, Answering) {
    let folder = tempfile::tempdir().unwrap();
    let slow = format!("jetstream {{ store_dir: \"{}\", sync_interval: always }}", folder.path().display());
    let stage = Stage::on(NatsServer::builder().config(slow).start().await.unwrap()).await;
    let echo = async_nats::connect(stage.server.url()).await.unwrap();
    let mut heard = echo.subscribe("strat.>").await.unwrap();
    echo.flush().await.unwrap();
    let answering = AbortOnDropHandle::new(tokio::spawn(async move {
        for answer in ANSWERS.into_iter().cycle() {
            let Some(message) = heard.next().await else { return };
            if let Some(reply) = message.reply {
                echo.publish(reply, answer.into()).await.unwrap();
            }
        }
    }));
    (stage, Answering { _answering: answering, _folder: folder })
}

/// Answers for as long as it is alive.
struct Answering {
    _answering: AbortOnDropHandle<()>,
    _folder: TempDir,
}

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("a", number), source()).build().unwrap()
}

async fn all_are_stored(stage: &Stage, outcomes: Vec<Result<PublishReceipt, PublishError>>) {
    let receipts = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|error| panic!("{error:?}")));
    stage.stored_once(&(1..).zip(receipts).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_publish_passes_over_answers_of_others() {
    let (stage, _answering) = stage().await;
    let mut outcomes = Vec::new();
    for number in 1..=300 {
        outcomes.push(stage.bridge.publish_envelope(&envelope(number)).await);
    }
    all_are_stored(&stage, outcomes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_in_flight_pass_over_answers_of_others() {
    let (stage, _answering) = stage().await;
    let receipts = stage.bridge.publish_all(stream::iter(1..=300).map(envelope));
    all_are_stored(&stage, receipts.collect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_passes_over_answers_of_others() {
    let (stage, _answering) = stage().await;
    if !stage.client.is_server_compatible(2, 12, 0) {
        return;
    }
    stage.bridge.provision(&Topology::default().with_batches(true)).await.unwrap();
    let receipts = batches(&stage.bridge).await;
    // Once more, so that each of them has to be looked up.
    let again = batches(&stage.bridge).await;
    assert!(again.iter().all(PublishReceipt::is_duplicate));
    let places =
        |receipts: &[PublishReceipt]| receipts.iter().map(PublishReceipt::sequence).collect::<Vec<_>>();
    assert_eq!(places(&again), places(&receipts));
    let messages = stage.stream(Feed::Strat).await.cached_info().state.messages;
    assert_eq!(messages, 100);
    all_are_stored(&stage, receipts.into_iter().map(Ok).collect()).await;
}

async fn batches(bridge: &EventBridge) -> Vec<PublishReceipt> {
    let mut receipts = Vec::new();
    for first in (1..=100).step_by(10) {
        let batch: Vec<_> = (first..first + 10).map(envelope).collect();
        receipts.extend(bridge.publish_batch(&batch).await.unwrap());
    }
    receipts
}
