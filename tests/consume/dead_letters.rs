//! Dead letters: found by a filter, redriven together, discarded; all of it safe to repeat.

use futures::{StreamExt, TryStreamExt};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use stratt_event_bridge::{
    ConsumerBuilder, Delivery, EventType, Feed, HandlerError, UnitDeprecated, UnitPublished, UnitUri,
    dead_letter::{DeadLetter, DeadLetterErrorKind, DeadLetterFilter, DeadLetterReason, DeadLetters},
};
use support::{DEADLINE, Running, Stage, deprecated, eventually, published};

async fn sequences(dead_letters: &DeadLetters, filter: DeadLetterFilter) -> Vec<u64> {
    let found = dead_letters.list(filter).await.unwrap().map_ok(|letter| letter.sequence());
    found.try_collect().await.unwrap()
}

/// Fails until it is healed; counts what it handled.
fn failing(builder: ConsumerBuilder, healed: &Arc<AtomicBool>, handled: &Arc<AtomicU32>) -> ConsumerBuilder {
    let (is_healed, count) = (Arc::clone(healed), Arc::clone(handled));
    builder
        .on(move |_: Delivery<UnitPublished>| {
            let is_healed = is_healed.load(Ordering::SeqCst);
            count.fetch_add(u32::from(is_healed), Ordering::SeqCst);
            async move { if is_healed { Ok(()) } else { Err(HandlerError::retry("down")) } }
        })
        .on(|_: Delivery<UnitDeprecated>| async { Err(HandlerError::reject("never")) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_found_by_consumer_domain_type_and_reason() {
    let stage = Stage::new().await;
    let (healed, handled) = (Arc::default(), Arc::default());
    let one = Running::start(failing(stage.consumer("one"), &healed, &handled).build().await.unwrap());
    let two = failing(stage.consumer("two").feed(Feed::Choco), &healed, &handled);
    let two = Running::start(two.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(deprecated("b", 2)).await.unwrap();
    let elsewhere: UnitUri = "strat://core/rule/c@1.0.0".parse().unwrap();
    stage.bridge.publish(UnitPublished::new(elsewhere, published("c", 3).fingerprint)).await.unwrap();
    let letters = stage.dead_letters_are(6).await;
    let dead_letters = stage.bridge.dead_letters();
    let all = DeadLetterFilter::default;
    let by = |chosen: &dyn Fn(&DeadLetter) -> bool| -> Vec<u64> {
        letters.iter().filter(|letter| chosen(letter)).map(DeadLetter::sequence).collect()
    };
    let one_of = |filter: DeadLetterFilter| sequences(&dead_letters, filter);
    assert_eq!(one_of(all().with_consumer("two".parse().unwrap())).await, by(&|l| l.consumer() == "two"));
    assert_eq!(one_of(all().with_domain("core".parse().unwrap())).await, by(&|l| l.domain() == "core"));
    let rejected = by(&|l| l.reason() == Some(DeadLetterReason::Rejected));
    assert_eq!(rejected.len(), 2);
    assert_eq!(one_of(all().with_reason(DeadLetterReason::Rejected)).await, rejected);
    assert_eq!(one_of(all().with_event_type(EventType::UnitDeprecated)).await, rejected);
    let exact = all().with_consumer("one".parse().unwrap()).with_domain("core".parse().unwrap());
    assert_eq!(one_of(exact.with_event_type(EventType::UnitPublished)).await.len(), 1);
    assert!(one_of(all().with_consumer("nobody".parse().unwrap())).await.is_empty());
    let shown = dead_letters.get(rejected[0]).await.unwrap();
    assert_eq!((shown.error(), shown.event_type()), ("never", "unit.deprecated"));
    assert!(shown.time().is_some());
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_redriven_together_and_each_is_handled_once() {
    let stage = Stage::new().await;
    let (healed, handled): (Arc<AtomicBool>, Arc<AtomicU32>) = (Arc::default(), Arc::default());
    let failed = failing(stage.consumer("failed").feed(Feed::Choco), &healed, &handled);
    let failed = Running::start(failed.build().await.unwrap());
    let others = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&others);
    let settled = stage.consumer("settled").feed(Feed::Choco).on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let settled = Running::start(settled.build().await.unwrap());
    for number in 1..=5 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    stage.dead_letters_are(5).await;
    let dead_letters = stage.bridge.dead_letters();
    // Redriven too early: all fail again, and the redrive ends, although each event gets a new dead letter.
    let early = dead_letters.redrive_all(DeadLetterFilter::default()).await.unwrap();
    assert_eq!(early.filter(|receipt| std::future::ready(receipt.is_ok())).count().await, 5);
    let letters = eventually(
        "new dead letters",
        || stage.dead_letters(),
        |letters| letters.len() == 5 && letters.iter().all(|letter| letter.sequence() > 5),
    );
    let first = letters.await[0].sequence();

    healed.store(true, Ordering::SeqCst);
    let (one, other) = tokio::join!(dead_letters.redrive(first), dead_letters.redrive(first));
    // Both at once publish under one message id; at least one finds the record, and the event is stored once.
    assert!(one.is_ok() || other.is_ok());
    let error = dead_letters.redrive(first).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::NotFound);
    let rest = dead_letters.redrive_all(DeadLetterFilter::default()).await.unwrap();
    assert_eq!(rest.filter(|receipt| std::future::ready(receipt.is_ok())).count().await, 4);
    assert!(stage.dead_letters().await.is_empty());
    // Five events, five early redrives, five late ones.
    let stored = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", stored, |messages| *messages == 15).await;
    stage.all_answered(Feed::Choco, "failed").await;
    stage.all_answered(Feed::Choco, "settled").await;
    assert_eq!((handled.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (5, 5));
    assert_eq!(failed.stop().await.handled, 5);
    let summary = settled.stop().await;
    assert_eq!((summary.received, summary.handled), (5, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_or_never_was_is_not_found() {
    let stage = Stage::new().await;
    let consumer = failing(stage.consumer("c"), &Arc::default(), &Arc::default());
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(deprecated("a", 1)).await.unwrap();
    let sequence = stage.dead_letters_are(1).await[0].sequence();
    let dead_letters = stage.bridge.dead_letters();
    dead_letters.discard(sequence).await.unwrap();
    for missing in [sequence, 999] {
        assert_eq!(dead_letters.discard(missing).await.unwrap_err().kind(), DeadLetterErrorKind::NotFound);
        assert_eq!(dead_letters.get(missing).await.unwrap_err().kind(), DeadLetterErrorKind::NotFound);
        assert_eq!(dead_letters.redrive(missing).await.unwrap_err().kind(), DeadLetterErrorKind::NotFound);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_terminated_once_its_dead_letter_is_stored() {
    let stage = Stage::new().await;
    let advisories = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STRATT_EVENTS.c";
    let mut terminated = stage.client.subscribe(advisories).await.unwrap();
    let consumer = failing(stage.consumer("c"), &Arc::default(), &Arc::default());
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(deprecated("b", 2)).await.unwrap();
    stage.context().publish("strat.dev.unit.published", "not json".into()).await.unwrap().await.unwrap();
    let mut reasons = Vec::new();
    for _ in 0..3 {
        let advisory = tokio::time::timeout(DEADLINE, terminated.next()).await.unwrap().unwrap();
        let advisory: serde_json::Value = serde_json::from_slice(&advisory.payload).unwrap();
        let letters = stage.dead_letters().await;
        let of_it: Vec<_> =
            letters.iter().filter(|letter| advisory["stream_seq"] == letter.stream_sequence()).collect();
        assert_eq!(of_it.len(), 1, "{advisory}");
        let reason = of_it[0].reason().unwrap();
        assert_eq!(advisory["reason"], format!("dead-lettered: {reason}"));
        reasons.push((of_it[0].stream_sequence(), reason));
    }
    reasons.sort_unstable();
    let wanted = [DeadLetterReason::Exhausted, DeadLetterReason::Rejected, DeadLetterReason::Invalid];
    assert_eq!(reasons, [(1, wanted[0]), (2, wanted[1]), (3, wanted[2])]);
    let summary = running.stop().await;
    assert_eq!((summary.exhausted, summary.rejected, summary.invalid, summary.retried), (1, 1, 1, 2));
}
