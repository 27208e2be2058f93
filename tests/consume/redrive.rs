//! Redriving: for the consumer that failed and for no other, and not back in time unless that is asked for.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::StreamExt;
use std::{
    error::Error,
    sync::{Arc, Mutex},
};
use stratt_event_bridge::{
    Delivery, EventType, Feed, HandlerError, PublishReceipt, UnitDeprecated, UnitPublished, async_nats,
    dead_letter::{DeadLetterError, DeadLetterErrorKind, DeadLetterFilter, RedriveOptions},
};
use support::{Running, Stage, deprecated, eventually, published, quick, raw_publish};

/// The cause of an error, as text.
fn cause(error: &DeadLetterError) -> String {
    error.source().unwrap().to_string()
}

/// The number of deliveries that a durable has had.
async fn delivered(stage: &Stage, feed: Feed, durable: &str) -> u64 {
    let consumer = stage.stream(feed).await.get_consumer::<pull::Config>(durable).await.unwrap();
    consumer.cached_info().delivered.consumer_sequence
}

/// The type of each event that a consumer handled, and whether it was redriven.
type Handled = Arc<Mutex<Vec<(EventType, bool)>>>;

/// A consumer that rejects what is published, unless it is redriven.
async fn rejecting(stage: &Stage, feed: Feed, name: &str, handled: &Handled) -> Running {
    let (of_published, of_deprecated) = (Arc::clone(handled), Arc::clone(handled));
    let consumer = stage
        .consumer(name)
        .feed(feed)
        .options(quick())
        .on(move |delivery: Delivery<UnitPublished>| {
            let is_redriven = delivery.is_redriven();
            if is_redriven {
                assert!(delivery.subject().contains(&format!("redrive.{}.dev.", delivery.slot().consumer())));
                of_published.lock().unwrap().push((EventType::UnitPublished, is_redriven));
            }
            async move { if is_redriven { Ok(()) } else { Err(HandlerError::reject("not yet")) } }
        })
        .on(move |delivery: Delivery<UnitDeprecated>| {
            of_deprecated.lock().unwrap().push((EventType::UnitDeprecated, delivery.is_redriven()));
            async { Ok(()) }
        });
    Running::start(consumer.build().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_reaches_the_consumer_that_failed_and_nobody_else() {
    for feed in [Feed::Strat, Feed::Choco] {
        let stage = Stage::new().await;
        let handled = Handled::default();
        let failed = rejecting(&stage, feed, "failed", &handled).await;
        let others = [(Feed::Strat, "other"), (Feed::Choco, "forwarded"), (feed, "failed-2")];
        let mut running = Vec::new();
        for (feed, name) in others {
            let other =
                stage.consumer(name).feed(feed).on(|_: Delivery<UnitPublished>| async { Ok(()) }).build();
            running.push(Running::start(other.await.unwrap()));
        }
        let plain = pull::Config {
            durable_name: Some("plain".into()),
            ack_policy: AckPolicy::Explicit,
            filter_subject: format!("{}strat.>", if feed == Feed::Choco { "choco." } else { "" }),
            ..pull::Config::default()
        };
        stage.stream(feed).await.create_consumer(plain).await.unwrap();
        stage.bridge.publish(published("a", 1)).await.unwrap();
        let letter = stage.dead_letters_are(1).await.remove(0);
        for (feed, name) in others {
            eventually("published", || delivered(&stage, feed, name), |count| *count == 1).await;
        }

        let receipt = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap();
        assert_eq!((receipt.stream(), receipt.sequence()), (Feed::Strat.stream(), 2));
        let is_handled = || async { handled.lock().unwrap().len() };
        eventually("handled", is_handled, |count| *count == 1).await;
        // Once more, as by an operator whose answer was lost long ago.
        let context = stage.context();
        context.publish("stratt.redrive.failed.dev.unit.published", letter.payload().clone()).await.unwrap();
        eventually("both", || delivered(&stage, feed, "failed"), |count| *count == 3).await;
        stage.all_answered(feed, "failed").await;
        assert_eq!(*handled.lock().unwrap(), [(EventType::UnitPublished, true)]);
        for (feed, name) in others {
            assert_eq!(delivered(&stage, feed, name).await, 1, "{name}");
        }
        let plain = stage.stream(feed).await.get_consumer::<pull::Config>("plain").await.unwrap();
        assert_eq!(plain.cached_info().num_pending, 1);
        assert_eq!(failed.stop().await.duplicates, 1);
        for running in running {
            assert_eq!(running.stop().await.received, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_older_than_its_unit_is_not_redriven() {
    for feed in [Feed::Strat, Feed::Choco] {
        let stage = Stage::new().await;
        let handled = Handled::default();
        let running = rejecting(&stage, feed, "c", &handled).await;
        stage.bridge.publish(published("a", 1)).await.unwrap();
        stage.bridge.publish(published("b", 2)).await.unwrap();
        stage.bridge.publish(deprecated("a", 3)).await.unwrap();
        let letters = stage.dead_letters_are(2).await;
        stage.all_answered(feed, "c").await;
        let dead_letters = stage.bridge.dead_letters();
        let of_unit = |slug: &str| {
            let is_of = |payload: &[u8]| String::from_utf8_lossy(payload).contains(&format!("/{slug}@"));
            letters.iter().find(|letter| is_of(letter.payload())).unwrap().sequence()
        };
        let error = dead_letters.redrive(of_unit("a")).await.unwrap_err();
        assert_eq!(error.kind(), DeadLetterErrorKind::Superseded);
        let says = "strat://dev/rule/a@1.0.0 has unit.deprecated at 3:";
        assert!(cause(&error).contains(says), "{}", cause(&error));
        dead_letters.redrive(of_unit("b")).await.unwrap();
        assert_eq!(stage.dead_letters().await.len(), 1);

        let back = RedriveOptions::default().with_older_than_newest(true);
        dead_letters.with_redrive_options(back).redrive(of_unit("a")).await.unwrap();
        stage.all_answered(feed, "c").await;
        let all_three = || async { handled.lock().unwrap().len() };
        eventually("handled", all_three, |count| *count == 3).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_all_failed_are_redriven_in_their_order() {
    let stage = Stage::new().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let consumer = stage.consumer("c").options(quick()).on(move |delivery: Delivery<UnitPublished>| {
        let (is_redriven, seen) = (delivery.is_redriven(), Arc::clone(&seen));
        async move {
            if !is_redriven {
                return Err(HandlerError::reject("not yet"));
            }
            seen.lock().unwrap().push(support::number_of(&delivery.event().fingerprint));
            Ok(())
        }
    });
    let running = Running::start(consumer.build().await.unwrap());
    for number in 1..=6 {
        stage.bridge.publish(published("unit", number)).await.unwrap();
    }
    let letters = stage.dead_letters_are(6).await;
    // The newest alone: those before it would then be older than what was handled.
    let dead_letters = stage.bridge.dead_letters();
    let newest = letters.iter().max_by_key(|letter| letter.stream_sequence()).unwrap();
    dead_letters.redrive(newest.sequence()).await.unwrap();
    let kinds =
        |error: &Result<PublishReceipt, DeadLetterError>| error.as_ref().err().map(DeadLetterError::kind);
    let redriven = dead_letters.redrive_all(DeadLetterFilter::default()).await.unwrap();
    let redriven: Vec<_> = redriven.collect().await;
    assert!(redriven.iter().all(|one| kinds(one) == Some(DeadLetterErrorKind::Superseded)), "{redriven:?}");

    let back = dead_letters.with_redrive_options(RedriveOptions::default().with_older_than_newest(true));
    let redriven = back.redrive_all(DeadLetterFilter::default()).await.unwrap();
    assert!(redriven.all(|one| async move { one.is_ok() }).await);
    eventually("handled", || async { order.lock().unwrap().len() }, |count| *count == 6).await;
    assert_eq!(*order.lock().unwrap(), [6, 1, 2, 3, 4, 5]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_events_of_a_unit_are_redriven_together() {
    let stage = Stage::new().await;
    let handled = Handled::default();
    let running = rejecting(&stage, Feed::Strat, "c", &handled).await;
    for number in 1..=5 {
        stage.bridge.publish(published("unit", number)).await.unwrap();
    }
    stage.dead_letters_are(5).await;
    let redriven = stage.bridge.dead_letters().redrive_all(DeadLetterFilter::default()).await.unwrap();
    assert!(redriven.all(|one| async move { one.is_ok() }).await);
    eventually("handled", || async { handled.lock().unwrap().len() }, |count| *count == 5).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_not_redriven_for_a_consumer_that_would_miss_it() {
    let stage = Stage::new().await;
    let running = rejecting(&stage, Feed::Strat, "c", &Handled::default()).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    running.stop().await;
    let stream = stage.stream(Feed::Strat).await;
    let dead_letters = stage.bridge.dead_letters();
    stream.delete_consumer("c").await.unwrap();
    let is_refused = async |says: &str| {
        let error = dead_letters.redrive(letter.sequence()).await.unwrap_err();
        assert_eq!(error.kind(), DeadLetterErrorKind::NotReceived);
        assert!(cause(&error).contains(says), "{}", cause(&error));
    };
    is_refused("durable c of STRATT_EVENTS does not exist").await;
    let mut plain = pull::Config {
        durable_name: Some("c".into()),
        filter_subject: "strat.>".into(),
        ..pull::Config::default()
    };
    stream.create_consumer(plain.clone()).await.unwrap();
    is_refused("does not filter stratt.redrive.c.dev.unit.published").await;
    plain.filter_subject = String::new();
    plain.filter_subjects = vec!["strat.>".into(), "stratt.redrive.c.>".into()];
    stream.update_consumer(plain).await.unwrap();
    dead_letters.redrive(letter.sequence()).await.unwrap();
    assert!(stage.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_beyond_a_batch_and_beyond_bad_headers() {
    let stage = Stage::new().await;
    for number in 0..2500 {
        if number == 1200 {
            // Headers that the client cannot read: its connection is cut when they arrive.
            let header = b"NATS/1.0\r\nno colon\r\n\r\n";
            raw_publish(stage.server.url(), "stratt.dlq.c.dev.unit.published", header, b"x").await;
        }
        stage.client.publish("stratt.dlq.c.dev.unit.published", "x".into()).await.unwrap();
    }
    stage.client.flush().await.unwrap();
    let stored = || async {
        let stream = stage.context().get_stream("STRATT_DLQ").await.unwrap();
        stream.cached_info().state.messages
    };
    eventually("stored", stored, |messages| *messages == 2501).await;
    let listed = stage.bridge.dead_letters().list(DeadLetterFilter::default()).await.unwrap();
    let listed: Vec<_> = listed
        .map(|letter| letter.map(|letter| letter.sequence()).map_err(|error| format!("{error:?}")))
        .collect()
        .await;
    assert_eq!(listed.iter().flatten().count(), 2501);
}
