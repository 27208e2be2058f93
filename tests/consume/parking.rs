//! Parking: what follows a dead letter of its unit waits behind it, and follows in order.

use futures::StreamExt;
use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};
use stratt_event_bridge::{
    ConsumeErrorKind, ConsumerOptions, Delivery, DurableConsumer, Event, Feed, HandlerError, Order,
    UnitPublished,
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetterFilter, DeadLetterGroup,
        DeadLetterReason::{self, Parked, Rejected},
        GroupRedriveOptions,
    },
    topology::DEAD_LETTER_STREAM,
};
use support::{Running, Stage, eventually, number_of, published, quick};

pub fn options() -> ConsumerOptions {
    quick()
        .with_order(Order::PerUnit)
        .with_parking(true)
        .with_processing_timeout(Duration::from_secs(1))
        .with_lease(Duration::from_secs(2))
        .with_ack_wait(Duration::from_secs(2))
}

/// The unit and the number of each event that was handled.
type Handled = Arc<Mutex<Vec<(String, u64)>>>;

/// A consumer that rejects events whose actor is `fails` until they are redriven, and with `fails always` ever after.
async fn consumer(stage: &Stage, feed: Feed, handled: &Handled) -> DurableConsumer {
    let handled = Arc::clone(handled);
    let consumer = stage.consumer("parks").feed(feed).options(options());
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
        let fails = match delivery.event().actor.as_deref() {
            Some("fails") => !delivery.is_redriven(),
            actor => actor == Some("fails always"),
        };
        if !fails {
            let unit = delivery.event().unit_uri().slug().to_owned();
            handled.lock().unwrap().push((unit, number_of(delivery.event().fingerprint())));
        }
        async move { if fails { Err(HandlerError::reject("as it must")) } else { Ok(()) } }
    });
    consumer.build().await.unwrap()
}

/// Publishes events 1 to 4 of two units; the second of `unit` fails. Returns the dead letters of the three behind the
/// first.
async fn blocked(stage: &Stage, feed: Feed, actor: &str) -> Vec<DeadLetter> {
    for number in 1..=4 {
        let event = published("unit", number);
        let event = if number == 2 { event.with_actor(actor) } else { event };
        stage.bridge.publish(event).await.unwrap();
        stage.bridge.publish(published("other", 100 + number)).await.unwrap();
    }
    let letters = stage.dead_letters_are(3).await;
    stage.all_answered(feed, "parks").await;
    letters
}

fn of_unit(handled: &Handled, unit: &str) -> Vec<u64> {
    handled.lock().unwrap().iter().filter(|(of, _)| of == unit).map(|(_, number)| *number).collect()
}

fn reasons(letters: &[DeadLetter]) -> Vec<DeadLetterReason> {
    letters.iter().map(|letter| letter.reason().unwrap()).collect()
}

/// Publishes another event of the unit, and waits until all are handled.
async fn all_follow(stage: &Stage, feed: Feed, handled: &Handled, wanted: &[u64]) {
    stage.bridge.publish(published("unit", 5)).await.unwrap();
    eventually("handled", || async { of_unit(handled, "unit") }, |numbers| numbers.len() == wanted.len())
        .await;
    stage.all_answered(feed, "parks").await;
    assert_eq!(of_unit(handled, "unit"), wanted);
    stage.dead_letters_are(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_dead_letter_waits_until_it_is_redriven() {
    for feed in [Feed::Strat, Feed::Choco] {
        let stage = Stage::since(11).await;
        let handled = Handled::default();
        let running = Running::start(consumer(&stage, feed, &handled).await);
        let letters = blocked(&stage, feed, "fails").await;
        assert_eq!(reasons(&letters), [Rejected, Parked, Parked]);
        assert_eq!(letters[1].error(), "parked behind dead letter 1 of strat://dev/rule/unit@1.0.0");
        assert_eq!(letters[1].unit(), Some("strat://dev/rule/unit@1.0.0"));
        assert_eq!(of_unit(&handled, "unit"), [1]);
        assert_eq!(of_unit(&handled, "other"), [101, 102, 103, 104]);

        let error = stage.bridge.dead_letters().redrive(letters[1].sequence()).await.unwrap_err();
        assert_eq!(error.kind(), DeadLetterErrorKind::Parked);
        let says = "dead letter 1 is the head of strat://dev/rule/unit@1.0.0";
        assert!(error.source().unwrap().to_string().contains(says));
        stage.bridge.dead_letters().redrive(letters[0].sequence()).await.unwrap();
        all_follow(&stage, feed, &handled, &[1, 2, 3, 4, 5]).await;
        let summary = running.stop().await;
        assert_eq!((summary.handled, summary.rejected), (9, 1));
        assert!(summary.parked >= 2, "{summary:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_follows_a_head_that_is_discarded() {
    let stage = Stage::since(11).await;
    let handled = Handled::default();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    let letters = blocked(&stage, Feed::Strat, "fails always").await;
    stage.bridge.dead_letters().discard(letters[0].sequence()).await.unwrap();
    eventually("handled", || async { of_unit(&handled, "unit") }, |numbers| numbers.len() == 3).await;
    all_follow(&stage, Feed::Strat, &handled, &[1, 3, 4, 5]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_event_makes_up_for_a_head_that_is_gone() {
    let stage = Stage::since(11).await;
    let handled = Handled::default();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    let letters = blocked(&stage, Feed::Strat, "fails").await;
    // As by its age, or by another tool.
    let stream = stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap();
    stream.delete_message(letters[0].sequence()).await.unwrap();
    all_follow(&stage, Feed::Strat, &handled, &[1, 3, 4, 5]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_knows_what_is_parked() {
    let stage = Stage::since(11).await;
    let handled = Handled::default();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    let letters = blocked(&stage, Feed::Strat, "fails").await;
    running.stop().await;
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    stage.bridge.publish(published("unit", 6)).await.unwrap();
    stage.dead_letters_are(4).await;
    running.stop().await;
    // Its head is gone while no process runs.
    let stream = stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap();
    stream.delete_message(letters[0].sequence()).await.unwrap();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    stage.bridge.publish(published("other", 105)).await.unwrap();
    eventually("handled", || async { of_unit(&handled, "unit") }, |numbers| numbers.len() == 4).await;
    all_follow(&stage, Feed::Strat, &handled, &[1, 3, 4, 6, 5]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_fails_again_stays_the_head() {
    let stage = Stage::since(11).await;
    let handled = Handled::default();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    let letters = blocked(&stage, Feed::Strat, "fails always").await;
    let dead_letters = stage.bridge.dead_letters();
    // The heads go, and what is parked behind them is left out.
    let redriven = dead_letters.redrive_all(DeadLetterFilter::default()).await.unwrap();
    let outcomes: Vec<_> = redriven.collect().await;
    let kinds: Vec<_> = outcomes.iter().map(|one| one.as_ref().err().map(DeadLetterError::kind)).collect();
    assert_eq!(kinds, [None, Some(DeadLetterErrorKind::Parked), Some(DeadLetterErrorKind::Parked)]);
    let is_replaced = |found: &Vec<DeadLetter>| {
        found.len() == 3 && found.iter().all(|letter| letter.sequence() != letters[0].sequence())
    };
    let found = eventually("replaced", || stage.dead_letters(), is_replaced).await;
    let head = found.iter().find(|letter| letter.is_redriven()).unwrap();
    assert_eq!((head.original_sequence(), head.reason()), (3, Some(DeadLetterReason::Rejected)));
    let groups = dead_letters.groups(DeadLetterFilter::default()).await.unwrap();
    assert_eq!(groups.iter().map(DeadLetterGroup::count).collect::<Vec<_>>(), [2, 1]);
    let parked = dead_letters.redrive_group(&groups[0], GroupRedriveOptions::default()).await.unwrap();
    let parked: Vec<_> = parked.map(|one| one.unwrap_err().kind()).collect().await;
    assert_eq!(parked, [DeadLetterErrorKind::Parked; 2]);
    assert_eq!(of_unit(&handled, "unit"), [1]);
    dead_letters.discard(head.sequence()).await.unwrap();
    eventually("handled", || async { of_unit(&handled, "unit") }, |numbers| numbers.len() == 3).await;
    all_follow(&stage, Feed::Strat, &handled, &[1, 3, 4, 5]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_that_is_withdrawn_overtakes_nothing() {
    let stage = Stage::since(11).await;
    let handled = Handled::default();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    stage.bridge.publish(published("unit", 1).with_actor("fails")).await.unwrap();
    let head = stage.dead_letters_are(1).await.remove(0);
    stage.all_answered(Feed::Strat, "parks").await;
    running.stop().await;
    let dead_letters = stage.bridge.dead_letters();
    stage.bridge.publish(published("unit", 2)).await.unwrap();
    dead_letters.redrive(head.sequence()).await.unwrap();
    dead_letters.discard(head.sequence()).await.unwrap();
    let running = Running::start(consumer(&stage, Feed::Strat, &handled).await);
    let withdrawn = stage.dead_letters_are(1).await.remove(0);
    stage.all_answered(Feed::Strat, "parks").await;
    assert_eq!((withdrawn.reason(), of_unit(&handled, "unit")), (Some(DeadLetterReason::Parked), vec![2]));
    let error = dead_letters.redrive(withdrawn.sequence()).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::Superseded);
    dead_letters.discard(withdrawn.sequence()).await.unwrap();
    all_follow(&stage, Feed::Strat, &handled, &[2, 5]).await;
    running.stop().await;
}

#[tokio::test]
async fn parking_without_strict_order_is_refused() {
    let stage = Stage::new().await;
    let relaxed = quick().with_parking(true);
    let consumer = stage.consumer("parks").options(relaxed).on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let error = consumer.build().await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::InvalidOptions);
    assert!(error.to_string().contains("set `Order::PerUnit`"), "{error}");
}
