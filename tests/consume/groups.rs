//! Dead letters in groups of one cause, and redriving a group: a canary first, at a pace, each event once.

use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use futures::{StreamExt, TryStreamExt, stream};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Feed, HandlerError, UnitPublished, async_nats,
    dead_letter::{
        DeadLetterErrorKind, DeadLetterFilter, DeadLetterGroup, DeadLetterReason, DeadLetters,
        GroupRedriveOptions,
    },
};
use support::{Running, Stage, eventually, number_of, published, quick};

/// The number of times that each event was handled after it was redriven.
#[derive(Debug, Default)]
struct Repaired {
    is_repaired: AtomicBool,
    handled: Mutex<HashMap<u64, u32>>,
}

impl Repaired {
    fn count(&self) -> usize {
        self.handled.lock().unwrap().len()
    }
}

/// A consumer that rejects every event until it is repaired, and those above a number even then.
async fn rejecting(stage: &Stage, feed: Feed, above: u64) -> (Running, Arc<Repaired>) {
    let repaired = Arc::new(Repaired::default());
    let seen = Arc::clone(&repaired);
    let consumer =
        stage.consumer("c").feed(feed).options(quick()).on(move |delivery: Delivery<UnitPublished>| {
            let number = number_of(&delivery.event().fingerprint);
            let fails = !seen.is_repaired.load(Ordering::SeqCst) || number > above;
            if !fails {
                *seen.handled.lock().unwrap().entry(number).or_default() += 1;
            }
            async move {
                let error = format!("row {number} of {} is locked", delivery.event().uri);
                if fails { Err(HandlerError::reject(error)) } else { Ok(()) }
            }
        });
    (Running::start(consumer.build().await.unwrap()), repaired)
}

async fn publish(stage: &Stage, count: u64) {
    for number in 1..=count {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    let letters = || async { letters(stage).await };
    eventually("dead letters", letters, |letters| *letters == count).await;
}

async fn letters(stage: &Stage) -> u64 {
    stage.context().get_stream("STRATT_DLQ").await.unwrap().cached_info().state.messages
}

async fn only_group(dead_letters: &DeadLetters) -> DeadLetterGroup {
    let mut groups = dead_letters.groups(DeadLetterFilter::default()).await.unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    groups.remove(0)
}

/// A group of so many events, of which those up to a number are handled from now on.
async fn repaired_group(
    stage: &Stage,
    count: u64,
    up_to: u64,
) -> (Running, Arc<Repaired>, DeadLetters, DeadLetterGroup) {
    let (running, repaired) = rejecting(stage, Feed::Strat, up_to).await;
    publish(stage, count).await;
    repaired.is_repaired.store(true, Ordering::SeqCst);
    let dead_letters = stage.bridge.dead_letters();
    let group = only_group(&dead_letters).await;
    (running, repaired, dead_letters, group)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_one_cause_are_one_group() {
    let stage = Stage::new().await;
    let causes = ["row 1 is locked", "no route to host 10.0.0.1:80", "timed out after 5s"];
    let context = stage.context();
    let stored = stream::iter(0..3000_u32).map(|number| {
        let context = context.clone();
        async move {
            let mut headers = HeaderMap::new();
            let cause = causes[usize::try_from(number % 3).unwrap()].replace(['1', '5'], &number.to_string());
            let consumer = if number < 2000 { "one" } else { "two" };
            for (name, value) in [
                ("Consumer", consumer),
                ("Reason", "exhausted"),
                ("Error", &*cause),
                ("Stream", "STRATT_EVENTS"),
                ("Subject", "strat.dev.unit.published"),
                ("Time", &*format!("2026-03-31T10:{:02}:{:02}.000Z", number / 60, number % 60)),
            ] {
                headers.insert(format!("Strat-Dead-Letter-{name}"), value);
            }
            let message = PublishMessage::build().headers(headers).payload("{}".into());
            let subject = format!("stratt.dlq.{consumer}.dev.unit.published");
            context.send_publish(subject, message).await.unwrap().await.unwrap();
        }
    });
    stored.buffered(64).collect::<Vec<_>>().await;
    let groups = stage.bridge.dead_letters().groups(DeadLetterFilter::default()).await.unwrap();
    let of_one: Vec<_> = groups.iter().filter(|group| group.consumer() == "one").collect();
    assert_eq!((groups.len(), of_one.len()), (6, 3));
    let first = of_one.iter().find(|group| group.error_pattern() == "row <n> is locked").unwrap();
    assert_eq!((first.count(), first.reason()), (667, Some(DeadLetterReason::Exhausted)));
    assert_eq!((first.event_type(), first.example().sequence(), first.id().len()), ("unit.published", 1, 16));
    let minutes = |time: Option<time::OffsetDateTime>| time.unwrap().minute();
    assert_eq!((minutes(first.first_time()), minutes(first.last_time())), (0, 33));
    assert_eq!(groups.iter().map(DeadLetterGroup::count).sum::<u64>(), 3000);
    assert!(groups.is_sorted_by_key(|group| std::cmp::Reverse(group.count())));
    let of_two = DeadLetterFilter::default().with_consumer("two".parse().unwrap());
    assert_eq!(stage.bridge.dead_letters().groups(of_two).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_redriven_behind_its_canary() {
    for feed in [Feed::Strat, Feed::Choco] {
        let stage = Stage::new().await;
        let (running, repaired) = rejecting(&stage, feed, 1000).await;
        publish(&stage, 40).await;
        let dead_letters = stage.bridge.dead_letters();
        let group = only_group(&dead_letters).await;
        assert_eq!((group.count(), group.error_pattern()), (40, "row <n> of <uri> is locked"));

        // Not repaired: the first fails again, and no other is touched.
        let redriven = dead_letters.redrive_group(&group, GroupRedriveOptions::default()).await.unwrap();
        let redriven: Vec<_> = redriven.collect().await;
        let [Ok(_), Err(error)] = &*redriven else { panic!("{redriven:?}") };
        assert_eq!(error.kind(), DeadLetterErrorKind::CanaryFailed);
        assert_eq!((letters(&stage).await, repaired.count()), (40, 0));

        repaired.is_repaired.store(true, Ordering::SeqCst);
        let redriven = dead_letters.redrive_group(&group, GroupRedriveOptions::default()).await.unwrap();
        let redriven: Vec<_> = redriven.try_collect().await.unwrap();
        // The canary of before is left out unless it is asked for.
        assert_eq!((redriven.len(), letters(&stage).await), (39, 1));
        let again = GroupRedriveOptions::default().with_redriven(true);
        let redriven = dead_letters.redrive_group(&group, again).await.unwrap();
        assert_eq!(redriven.try_collect::<Vec<_>>().await.unwrap().len(), 1);
        eventually("handled", || async { repaired.count() }, |count| *count == 40).await;
        assert!(repaired.handled.lock().unwrap().values().all(|times| *times == 1));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_that_is_interrupted_goes_on_and_repeats_none() {
    let stage = Stage::new().await;
    let (running, repaired, dead_letters, group) = repaired_group(&stage, 100, 90).await;
    let options = GroupRedriveOptions::default().with_most_failed(100);
    let mut left = 100;
    while left > 0 {
        // Dropped in the midst of one.
        let mut redriven = dead_letters.redrive_group(&group, options).await.unwrap();
        let mut yielded = 0;
        let some = async {
            while redriven.next().await.is_some() {
                yielded += 1;
                if yielded == 30 {
                    let _dropped = tokio::time::timeout(Duration::from_micros(300), redriven.next()).await;
                    break;
                }
            }
        };
        some.await;
        left = if yielded == 0 { 0 } else { left };
    }
    eventually("handled", || async { repaired.count() }, |count| *count == 90).await;
    eventually("failed again", || letters(&stage), |letters| *letters == 10).await;
    assert!(repaired.handled.lock().unwrap().values().all(|times| *times == 1));
    stage.all_answered(Feed::Strat, "c").await;
    // Each event twice, once as it was published and once as it was redriven.
    assert_eq!(running.stop().await.handled, 90);
    let again: Vec<_> = stage.dead_letters().await;
    assert!(again.iter().all(|letter| letter.is_redriven() && letter.original_sequence() > 90));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_stops_when_too_many_fail_again() {
    let stage = Stage::new().await;
    let (running, _, dead_letters, group) = repaired_group(&stage, 400, 10).await;
    let options = GroupRedriveOptions::default().with_interval(Duration::from_millis(10));
    let redriven: Vec<_> = dead_letters.redrive_group(&group, options).await.unwrap().collect().await;
    let error = redriven.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::FailedAgain);
    assert!(redriven.len() < 400, "{}", redriven.len());
    stage.all_answered(Feed::Strat, "c").await;
    assert_eq!(letters(&stage).await, 390);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_is_not_handled_holds_the_others_back() {
    let stage = Stage::new().await;
    let (running, _) = rejecting(&stage, Feed::Strat, 0).await;
    publish(&stage, 3).await;
    running.stop().await;
    let dead_letters = stage.bridge.dead_letters();
    let group = only_group(&dead_letters).await;
    let options = GroupRedriveOptions::default().with_canary_wait(Duration::from_millis(500));
    let redriven: Vec<_> = dead_letters.redrive_group(&group, options).await.unwrap().collect().await;
    let [Ok(_), Err(error)] = &*redriven else { panic!("{redriven:?}") };
    assert_eq!((error.kind(), letters(&stage).await), (DeadLetterErrorKind::CanaryPending, 2));
}
