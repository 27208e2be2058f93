//! Batches: stored all together or not at all, whatever happens to them on the way.

use async_nats::{HeaderMap, jetstream::consumer::pull};
use futures::TryStreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, Feed, PublishErrorKind, PublishReceipt, UnitPublished, async_nats,
    testing::{Direction, NatsServer},
    topology::Topology,
};
use support::{ClusterStage, Stage, eventually, published, source};

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("a", number), source()).build().unwrap()
}

fn envelopes(numbers: impl IntoIterator<Item = u64>) -> Vec<Envelope<UnitPublished>> {
    numbers.into_iter().map(envelope).collect()
}

fn sequences(receipts: &[PublishReceipt]) -> Vec<(u64, bool)> {
    receipts.iter().map(|receipt| (receipt.sequence(), receipt.is_duplicate())).collect()
}

async fn with_batches<S>(stage: Stage<S>, topology: Topology) -> Stage<S> {
    stage.bridge.provision(&topology.with_batches(true)).await.unwrap();
    stage
}

async fn stage() -> Stage {
    with_batches(Stage::since(12).await, Topology::default()).await
}

async fn stored<S>(stage: &Stage<S>) -> u64 {
    stage.stream(Feed::Strat).await.cached_info().state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_stored_in_order_and_forwarded_in_order() {
    let stage = stage().await;
    stage.bridge.publish(published("a", 1000)).await.unwrap();
    let receipts = stage.bridge.publish_batch(&envelopes(1..=500)).await.unwrap();
    assert_eq!(sequences(&receipts), (2..=501).map(|sequence| (sequence, false)).collect::<Vec<_>>());
    let single = stage.bridge.publish_batch(&envelopes([501])).await.unwrap();
    assert_eq!(sequences(&single), [(502, false)]);
    assert!(stage.bridge.publish_batch(&envelopes([])).await.unwrap().is_empty());
    let numbered = receipts.into_iter().chain(single).zip(1..).map(|(receipt, number)| (number, receipt));
    let first = (1000, stage.bridge.publish(published("a", 1000)).await.unwrap());
    stage.stored_once(&numbered.chain([first]).collect::<Vec<_>>()).await;
    let choco = stage.stream(Feed::Choco).await;
    let forwarded = || async { choco.get_info().await.unwrap().state.messages };
    eventually("forwarded", forwarded, |forwarded| *forwarded == 502).await;
    let read = choco.create_consumer(pull::Config::default()).await.unwrap();
    let messages = read.fetch().max_messages(502).messages().await.unwrap();
    let keys: Vec<_> = messages
        .map_ok(|message| {
            assert!(message.headers.as_ref().unwrap().get("Nats-Batch-Id").is_none());
            Envelope::<UnitPublished>::decode(&message.subject, &message.payload).unwrap().idempotency_key()
        })
        .try_collect()
        .await
        .unwrap();
    let wanted: Vec<_> = [1000].into_iter().chain(1..=501).map(|n| envelope(n).idempotency_key()).collect();
    assert_eq!(keys, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_events_are_left_out_and_the_rest_stored_together() {
    let stage = stage().await;
    let batch = envelopes(1..=10);
    stage.bridge.publish_envelope(&batch[3]).await.unwrap();
    stage.bridge.publish_envelope(&batch[9]).await.unwrap();
    let receipts = stage.bridge.publish_batch(&batch).await.unwrap();
    let rest = |sequence| (sequence, false);
    let wanted =
        [[rest(3), rest(4), rest(5), (1, true), rest(6)], [rest(7), rest(8), rest(9), rest(10), (2, true)]];
    assert_eq!(sequences(&receipts), wanted.concat());
    // New envelopes of the same facts, all of which are stored now.
    let again = stage.bridge.publish_batch(&envelopes(1..=10)).await.unwrap();
    assert!(again.iter().all(PublishReceipt::is_duplicate));
    assert!(again.iter().zip(&receipts).all(|(again, first)| again.sequence() == first.sequence()));
    assert_eq!(stored(&stage).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_in_a_batch_twice_is_stored_once() {
    let stage = stage().await;
    let receipts = stage.bridge.publish_batch(&envelopes([1, 2, 1, 1, 3])).await.unwrap();
    assert_eq!(sequences(&receipts), [(1, false), (2, false), (1, true), (1, true), (3, false)]);
    assert_eq!(stored(&stage).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_too_large_is_refused_as_a_whole() {
    let stage = stage().await;
    let mut batch = envelopes(1..=1001);
    let error = stage.bridge.publish_batch(&batch).await.unwrap_err();
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::TooLarge, false));
    batch.truncate(999);
    let large = published("a", 1000).with_actor("x".repeat(300 * 1024));
    batch.push(Envelope::builder(large, source()).build().unwrap());
    let error = stage.bridge.publish_batch(&batch).await.unwrap_err();
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::TooLarge, false));
    assert_eq!(stored(&stage).await, 0);
    stage.bridge.publish_batch(&envelopes(1..=1000)).await.unwrap();
    assert_eq!(stored(&stage).await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_streams_without_batches_are_told_apart() {
    let server = NatsServer::builder().version("2.11.11").start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    // Unlike a required setting, this one is not set.
    let topology = Topology::default().with_batches(true);
    bridge.provision(&topology).await.unwrap();
    bridge.verify(&topology).await.unwrap();
    let error = bridge.publish_batch(&envelopes(1..=3)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::Unsupported, false));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "batches need nats-server 2.12 or newer");
    let receipt = bridge.publish(published("a", 1)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (1, false));

    let stage = Stage::since(12).await;
    let error = stage.bridge.publish_batch(&envelopes(1..=3)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::Unsupported, false));
    assert_eq!(stored(&stage).await, 0);
    let drift = stage.bridge.verify(&topology).await.unwrap_err();
    assert!(drift.to_string().contains("allow_atomic_publish"), "{drift}");
    let stage = with_batches(stage, Topology::default()).await;
    stage.bridge.verify(&topology).await.unwrap();
    stage.bridge.publish_batch(&envelopes(1..=3)).await.unwrap();
    // A topology without batches does not turn them off.
    stage.bridge.provision(&Topology::default()).await.unwrap();
    stage.bridge.verify(&topology).await.unwrap();
}

/// More bytes than the empty answer to the first message of a batch has, and fewer than with the answer to the last.
const INTO_THE_COMMIT: usize = 130;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_acknowledgement_is_lost_is_found_to_be_stored() {
    let stage = stage().await;
    let (proxy, bridge) = stage.through_proxy(Duration::from_millis(500)).await;
    // Makes the inbox for answers ready, so that nothing else is on its way.
    bridge.publish(published("a", 100)).await.unwrap();
    proxy.cut_after(Direction::ToClient, INTO_THE_COMMIT);
    let receipts = bridge.publish_batch(&envelopes(1..=10)).await.unwrap();
    assert_eq!(sequences(&receipts), (2..=11).map(|sequence| (sequence, true)).collect::<Vec<_>>());
    assert_eq!(stored(&stage).await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_within_a_batch_leaves_nothing_of_it() {
    let stage = stage().await;
    let (proxy, bridge) = stage.through_proxy(Duration::from_millis(500)).await;
    for batch in 0..5 {
        // 200 events have some 150 kB.
        proxy.cut_after(Direction::ToServer, 20_000 * (batch + 1));
        let first = 200 * u64::try_from(batch).unwrap() + 1;
        let receipts = bridge.publish_batch(&envelopes(first..first + 200)).await.unwrap();
        // One behind the other, and none of them a duplicate: nothing of the first attempt was stored.
        let wanted: Vec<_> = (first..first + 200).map(|sequence| (sequence, false)).collect();
        assert_eq!(sequences(&receipts), wanted);
    }
    assert_eq!(stored(&stage).await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_whole_when_the_server_is_killed() {
    let mut stage = stage().await;
    // The first half of a batch, as this crate would send it.
    for number in 1..=5_u64 {
        let envelope = envelope(number);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", envelope.idempotency_key().to_string());
        headers.insert("Nats-Batch-Id", "interrupted");
        headers.insert("Nats-Batch-Sequence", number.to_string());
        let payload = envelope.encode().unwrap().into();
        stage.client.publish_with_headers(envelope.subject(), headers, payload).await.unwrap();
    }
    stage.client.flush().await.unwrap();
    assert_eq!(stored(&stage).await, 0);
    stage.server.kill();
    stage.server.restart().await.unwrap();
    let receipts = stage.bridge.publish_batch(&envelopes(1..=10)).await.unwrap();
    assert_eq!(sequences(&receipts), (1..=10).map(|sequence| (sequence, false)).collect::<Vec<_>>());
    for round in 0..3 {
        let (bridge, first) = (stage.bridge.clone(), 1000 * round + 11);
        let publishing = tokio::spawn(async move {
            let mut receipts = Vec::new();
            for first in (first..first + 1000).step_by(100) {
                receipts.extend(bridge.publish_batch(&envelopes(first..first + 100)).await.unwrap());
            }
            receipts
        });
        let before = 1000 * round + 10;
        eventually("stored", || stored(&stage), |stored| *stored > before).await;
        stage.server.kill();
        stage.server.restart().await.unwrap();
        let left = stored(&stage).await;
        assert_eq!(left % 100, 10, "a part of a batch is stored: {left}");
        let receipts = publishing.await.unwrap();
        let wanted: Vec<_> = (first..first + 1000).collect();
        assert_eq!(receipts.iter().map(PublishReceipt::sequence).collect::<Vec<_>>(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_bytes_under_an_id_are_no_verified_duplicate() {
    let stage = stage().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", envelope(2).idempotency_key().to_string());
    let (context, subject) = (stage.context(), envelope(2).subject());
    context.publish_with_headers(subject, headers, "garbage".into()).await.unwrap().await.unwrap();
    let options = BridgeOptions::default().with_verify_duplicates(true);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let error = bridge.publish_batch(&envelopes(1..=3)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Suppressed);
    assert_eq!(stored(&stage).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_keep_a_batch_together_and_know_what_they_have() {
    let topology = Topology::default().with_replicas(3);
    let stage = with_batches(ClusterStage::on_cluster().await, topology).await;
    if !stage.client.is_server_compatible(2, 12, 0) {
        let error = stage.bridge.publish_batch(&envelopes([2, 4])).await.unwrap_err();
        assert_eq!((error.kind(), stored(&stage).await), (PublishErrorKind::Unsupported, 0));
        return;
    }
    let receipts = stage.bridge.publish_batch(&envelopes([2, 4])).await.unwrap();
    assert_eq!(sequences(&receipts), [(1, false), (2, false)]);
    let receipts = stage.bridge.publish_batch(&envelopes(1..=5)).await.unwrap();
    assert_eq!(sequences(&receipts), [(3, false), (1, true), (4, false), (2, true), (5, false)]);
    let again = stage.bridge.publish_batch(&envelopes(1..=5)).await.unwrap();
    assert_eq!(sequences(&again), [(3, true), (1, true), (4, true), (2, true), (5, true)]);
    assert_eq!(stored(&stage).await, 5);
}
