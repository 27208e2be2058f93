//! Replays: a consumer handles again what it has handled, once in each epoch, and nobody else receives anything.

use async_nats::HeaderMap;
use futures::{StreamExt, TryStreamExt};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Event, Feed, HandlerError, UnitPublished, async_nats,
    async_nats::jetstream::consumer::pull,
    durables::{DurablesErrorKind, Epoch, Replay, ReplayOptions, Replayed},
};
use support::{Running, Stage, eventually, number_of, published};
use time::OffsetDateTime;

/// The count of the times that each event was handled, by its number and the epoch.
type Handled = Arc<Mutex<BTreeMap<(u64, Option<u64>), u32>>>;

/// Starts a consumer that rejects event 13 outside of a replay.
async fn counting(stage: &Stage, feed: Feed, name: &str, handled: &Handled) -> Running {
    let handled = Arc::clone(handled);
    let consumer = stage.consumer(name).feed(feed).on(move |delivery: Delivery<UnitPublished>| {
        let number = number_of(&delivery.event().fingerprint);
        let epoch = delivery.epoch();
        assert_eq!(epoch.is_some(), delivery.is_redriven());
        let is_rejected = number == 13 && epoch.is_none();
        if !is_rejected {
            *handled.lock().unwrap().entry((number, epoch.map(Epoch::get))).or_default() += 1;
        }
        async move { if is_rejected { Err(HandlerError::reject("unlucky")) } else { Ok(()) } }
    });
    Running::start(consumer.build().await.unwrap())
}

async fn replay(stage: &Stage, feed: Feed, name: &str, options: ReplayOptions) -> Replay {
    stage.bridge.durables().replay(feed, &name.parse().unwrap(), options).await.unwrap()
}

async fn handled_are(handled: &Handled, wanted: impl IntoIterator<Item = (u64, Option<u64>)>) {
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|of| (of, 1)).collect();
    let look = || async { handled.lock().unwrap().clone() };
    eventually("handled", look, |seen| *seen == wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handled_is_handled_once_in_each_epoch() {
    for feed in [Feed::Strat, Feed::Choco] {
        let stage = Stage::new().await;
        let [one, other] = [Handled::default(), Handled::default()];
        let running =
            [counting(&stage, feed, "one", &one).await, counting(&stage, feed, "other", &other).await];
        for number in 1..=3 {
            stage.bridge.publish(published("unit", number)).await.unwrap();
        }
        let live = || (1..=3).map(|number| (number, None));
        handled_are(&one, live()).await;
        handled_are(&other, live()).await;
        for name in ["one", "other"] {
            stage.all_answered(feed, name).await;
        }

        let options = ReplayOptions::since(OffsetDateTime::UNIX_EPOCH).with_epoch(Epoch::new(7));
        let prepared = replay(&stage, feed, "one", options).await;
        assert_eq!((prepared.count().await.unwrap(), prepared.epoch().get()), (3, 7));
        let replayed: Vec<Replayed> = prepared.clone().publish().try_collect().await.unwrap();
        let originals: Vec<_> = replayed.iter().map(Replayed::original_sequence).collect();
        assert_eq!(originals, [1, 2, 3]);
        let in_epoch = |epoch| (1..=3).map(move |number| (number, Some(epoch)));
        handled_are(&one, live().chain(in_epoch(7))).await;

        let key = published("unit", 1).idempotency_key();
        assert_eq!(stage.bridge.explain(key).ask().await.unwrap().redrives().len(), 1);

        // Repeated as the broker no longer remembers it, and in another epoch.
        stage
            .context()
            .publish_with_headers(
                "stratt.redrive.one.dev.unit.published",
                headers_of(&stage, replayed[0].receipt().sequence()).await,
                stage.stream(Feed::Strat).await.get_raw_message(1).await.unwrap().payload,
            )
            .await
            .unwrap()
            .await
            .unwrap();
        let again = replay(&stage, feed, "one", options.with_epoch(Epoch::new(8))).await;
        assert_eq!(again.publish().count().await, 3);
        handled_are(&one, live().chain(in_epoch(7)).chain(in_epoch(8))).await;
        stage.all_answered(feed, "one").await;
        handled_are(&one, live().chain(in_epoch(7)).chain(in_epoch(8))).await;
        handled_are(&other, live()).await;
        for running in running {
            running.stop().await;
        }
    }
}

/// Returns the headers of a stored event but its message id.
async fn headers_of(stage: &Stage, sequence: u64) -> HeaderMap {
    let stored = stage.stream(Feed::Strat).await.get_raw_message(sequence).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Strat-Replay-Epoch", stored.headers.get("Strat-Replay-Epoch").unwrap().clone());
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_begins_and_ends_where_it_is_told_to() {
    let stage = Stage::new().await;
    let handled = Handled::default();
    let running = counting(&stage, Feed::Strat, "c", &handled).await;
    let mut stored_at = Vec::new();
    for number in 1..=4 {
        let receipt = stage.bridge.publish(published("unit", number)).await.unwrap();
        let stored = stage.stream(Feed::Strat).await.get_raw_message(receipt.sequence()).await.unwrap();
        stored_at.push(stored.time);
    }
    stage.context().publish("strat.dev.unit.published", "not json".into()).await.unwrap().await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    let all = ReplayOptions::since(OffsetDateTime::UNIX_EPOCH).with_interval(Duration::ZERO);
    for (options, wanted) in [
        (all, 4),
        (ReplayOptions::since(stored_at[1]), 3),
        (ReplayOptions::since(stored_at[1]).with_until(stored_at[3]), 2),
        (ReplayOptions::since(stored_at[3] + Duration::from_hours(1)), 0),
        (all.with_until(OffsetDateTime::UNIX_EPOCH), 0),
    ] {
        let prepared = replay(&stage, Feed::Strat, "c", options).await;
        assert_eq!(prepared.count().await.unwrap(), wanted, "{options:?}");
        assert_eq!(prepared.publish().count().await as u64, wanted, "{options:?}");
    }
    running.stop().await;
    // What was not delivered yet comes anyway.
    stage.bridge.publish(published("unit", 5)).await.unwrap();
    assert_eq!(replay(&stage, Feed::Strat, "c", all).await.count().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_fails_in_a_replay_is_redriven_in_its_epoch() {
    let stage = Stage::new().await;
    let handled = Handled::default();
    let running = counting(&stage, Feed::Strat, "c", &handled).await;
    stage.bridge.publish(published("unit", 13)).await.unwrap();
    stage.dead_letters_are(1).await;
    stage.all_answered(Feed::Strat, "c").await;
    let options = ReplayOptions::since(OffsetDateTime::UNIX_EPOCH).with_epoch(Epoch::new(1));
    assert_eq!(replay(&stage, Feed::Strat, "c", options).await.publish().count().await, 1);
    // Its dead letter is that of the event as it was published.
    handled_are(&handled, [(13, Some(1))]).await;
    assert_eq!(stage.dead_letters().await.len(), 1);

    // No number: it is never handled, neither as a replay nor as an event that is redriven.
    let mut headers = HeaderMap::new();
    headers.insert("Strat-Replay-Epoch", "x");
    let payload = stage.stream(Feed::Strat).await.get_raw_message(1).await.unwrap().payload;
    let subject = "stratt.redrive.c.dev.unit.published";
    stage.context().publish_with_headers(subject, headers, payload).await.unwrap().await.unwrap();
    let letters = stage.dead_letters_are(2).await;
    let says = "invalid epoch \"x\": must be a decimal number of 64 bits";
    assert_eq!(letters[1].error(), says);
    running.stop().await;
}

#[tokio::test]
async fn a_durable_that_would_miss_it_is_refused() {
    let stage = Stage::new().await;
    let stream = stage.stream(Feed::Strat).await;
    let config = pull::Config {
        durable_name: Some("plain".into()),
        filter_subject: "strat.*.unit.published".into(),
        ..pull::Config::default()
    };
    let plain = stream.create_consumer(config).await.unwrap();
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    let delivered: Vec<_> = plain
        .fetch()
        .max_messages(1)
        .expires(Duration::from_secs(5))
        .messages()
        .await
        .unwrap()
        .collect()
        .await;
    assert_eq!(delivered.len(), 1);
    let options = ReplayOptions::since(OffsetDateTime::UNIX_EPOCH);
    let prepared = replay(&stage, Feed::Strat, "plain", options).await;
    let published: Vec<_> = prepared.clone().publish().collect().await;
    let errors = [prepared.count().await.unwrap_err(), published.into_iter().next().unwrap().unwrap_err()];
    for error in errors {
        assert_eq!(error.kind(), DurablesErrorKind::NotReceived);
        let says = "durable plain of STRATT_EVENTS does not filter stratt.redrive.plain.dev.unit.published";
        assert!(error.to_string().starts_with(says), "{error}");
    }
    let missing = stage.bridge.durables().replay(Feed::Choco, &"none".parse().unwrap(), options).await;
    assert_eq!(missing.unwrap_err().kind(), DurablesErrorKind::NotFound);
}
