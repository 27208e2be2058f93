//! Units that hold up no other: those whose events cannot be published, and those with many.

use async_nats::jetstream::stream;
use stratt_event_bridge::{
    Envelope, Feed, UnitPublished, async_nats, outbox::OutboxOptions, topology::EVENT_STREAM,
};
use support::{Outbox, Stage, eventually, published, source};

const GOOD_PENDING: &str = "SELECT count(*) FROM stratt_outbox WHERE state = 0 AND uri LIKE '%good%'";

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

/// The stream takes the events of these subjects only.
async fn takes_only(stage: &Stage, subject: &str) {
    let stream = stage.context().get_stream(EVENT_STREAM).await.unwrap();
    let mut config: stream::Config = stream.cached_info().config.clone();
    config.subjects = vec![subject.into()];
    stage.context().update_stream(config).await.unwrap();
}

async fn good_is_published(outbox: &Outbox) {
    eventually("good events", || outbox.count(GOOD_PENDING), |pending| *pending == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_cannot_be_published_hold_up_no_other() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        takes_only(&stage, "strat.dev.>").await;
        let bad: Vec<_> = (0..3000).map(|number| envelope(&format!("bad{number}"), number)).collect();
        outbox.enqueue(&bad, true).await;
        outbox.run("UPDATE stratt_outbox SET subject = 'strat.core.unit.published'").await;
        outbox.enqueue(&[envelope("good", 1)], true).await;
        let relay = outbox.relay(&stage.bridge);
        good_is_published(&outbox).await;
        assert_eq!(outbox.status().await.pending, 3000);
        takes_only(&stage, "strat.>").await;
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        assert_eq!(relay.stop().await.published, 3001);
    }
}

/// In a batch it would spoil all others with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_cannot_be_published_spoils_no_batch() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let (stage, _network, bridge) = super::outbox_batches::slow_stage().await;
        takes_only(&stage, "strat.dev.>").await;
        outbox.enqueue(&[envelope("bad", 1)], true).await;
        outbox.run("UPDATE stratt_outbox SET subject = 'strat.core.unit.published'").await;
        let good: Vec<_> =
            (0..3000).map(|number| envelope(&format!("good{}", number % 1000), number)).collect();
        outbox.enqueue(&good, true).await;
        let relay = outbox.relay(&bridge);
        good_is_published(&outbox).await;
        let summary = relay.stop().await;
        assert_eq!((summary.published, outbox.status().await.pending), (3000, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_with_many_events_keeps_their_order() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        // Beside others, so that it is read in parts.
        let slugs = |number: u64| if number.is_multiple_of(3) { "other" } else { "many" };
        let events: Vec<_> = (0..900).map(|number| envelope(slugs(number), number)).collect();
        outbox.enqueue(&events, true).await;
        let relay = outbox.relay(&stage.bridge);
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        assert_eq!(relay.stop().await.published, 900);
        let stream = stage.stream(Feed::Strat).await;
        let mut newest = [String::new(), String::new()];
        for sequence in 1..=900 {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let envelope: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
            let event = envelope.narrow::<UnitPublished>().unwrap().into_event();
            let before = &mut newest[usize::from(event.uri.slug() == "many")];
            let digest = event.fingerprint.digest().to_owned();
            assert!(*before < digest, "{digest} after {before}");
            *before = digest;
        }
    }
}
