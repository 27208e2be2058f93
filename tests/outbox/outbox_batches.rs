//! A relay that publishes in batches, since the broker is slow: each event once, each unit in order, whatever fails.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::TryStreamExt;
use std::{collections::HashMap, time::Duration};
use stratt_event_bridge::{
    Envelope, EventBridge, Feed, UnitPublished, async_nats,
    outbox::OutboxOptions,
    testing::{FaultProxy, NatsServer},
    topology::Topology,
};
use support::{Outbox, Stage, eventually, published, source};

const UNITS: u64 = 1000;
/// Two looks at the database, and more.
const EVENTS: u64 = 3 * UNITS;

/// A server that takes batches and no large messages, and a way to it on which a thousand events take long enough.
pub(super) async fn slow_stage() -> (Stage, FaultProxy, EventBridge) {
    let server = NatsServer::builder().version(support::NEWEST).config("max_payload: 3000");
    let stage = Stage::on(server.start().await.unwrap()).await;
    stage.bridge.provision(&Topology::default().with_batches(true)).await.unwrap();
    let (network, bridge) = stage.through_proxy(Duration::from_secs(5)).await;
    network.delay(Duration::from_millis(300));
    (stage, network, bridge)
}

fn envelope(number: u64) -> Envelope<UnitPublished> {
    let slug = format!("unit-{}", number % UNITS);
    Envelope::builder(published(&slug, number), source()).build().unwrap()
}

/// The unit and the fingerprint of each event in the stream, and how many of them came in batches.
async fn stored(stage: &Stage) -> (Vec<(String, String)>, usize) {
    let stream = stage.stream(Feed::Strat).await;
    let count = usize::try_from(stream.cached_info().state.messages).unwrap();
    let read = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let read = stream.create_consumer(read).await.unwrap();
    let mut messages = read.fetch().max_messages(count).messages().await.unwrap();
    let (mut stored, mut in_batches) = (Vec::new(), 0);
    while let Some(message) = messages.try_next().await.unwrap() {
        let envelope: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
        let event = envelope.narrow::<UnitPublished>().unwrap().into_event();
        stored.push((event.uri.to_string(), event.fingerprint.digest().to_owned()));
        let headers = message.headers.as_ref();
        in_batches += usize::from(headers.is_some_and(|headers| headers.get("Nats-Batch-Id").is_some()));
    }
    (stored, in_batches)
}

fn are_each_once_and_in_order(stored: &[(String, String)]) {
    let mut newest: HashMap<&str, &str> = HashMap::new();
    for (unit, fingerprint) in stored {
        let before = newest.insert(unit, fingerprint);
        assert!(
            before.is_none_or(|before| before < fingerprint.as_str()),
            "{unit} {fingerprint} after {before:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_batch_holds_up_no_other_event() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let (stage, _network, bridge) = slow_stage().await;
        let mut envelopes: Vec<_> = (0..EVENTS).map(envelope).collect();
        let spoils = 2 * UNITS + 500;
        let too_large = Envelope::builder(published("unit-500", spoils), source());
        envelopes[usize::try_from(spoils).unwrap()] =
            too_large.meta("text", "x".repeat(4000)).build().unwrap();
        outbox.enqueue(&envelopes, true).await;
        let relay = outbox.relay(&bridge);
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        let summary = relay.stop().await;
        assert_eq!((summary.published, summary.duplicates, summary.quarantined), (EVENTS - 1, 0, 1));
        let (stored, in_batches) = stored(&stage).await;
        assert_eq!(stored.len() as u64, EVENTS - 1);
        are_each_once_and_in_order(&stored);
        assert!(in_batches > 0, "{outbox:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_not_marked_is_stored_once() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let (stage, _network, bridge) = slow_stage().await;
        outbox.enqueue(&(0..EVENTS).map(envelope).collect::<Vec<_>>(), true).await;
        let relay = outbox.relay(&bridge);
        // The answer to the batch that is stored now is on its way for as long as the network delays it.
        let arrived = || async { stage.stream(Feed::Strat).await.cached_info().state.messages };
        eventually("stored", arrived, |stored| *stored > UNITS).await;
        relay.abort();
        let heir = outbox.relay(&stage.bridge);
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        let summary = heir.stop().await;
        assert!(summary.duplicates > 0, "{summary:?} of {outbox:?}");
        let (stored, in_batches) = stored(&stage).await;
        assert_eq!(stored.len() as u64, EVENTS);
        assert!(in_batches > 0, "{outbox:?}");
        are_each_once_and_in_order(&stored);
    }
}
