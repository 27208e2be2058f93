//! The way of one event, explained.

use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, Event, Feed, HandlerError, UnitPublished,
    dedupe::{MemoryStore, SlotState, StoreErrorKind},
    durables::DeliveryState,
    explain::SeenSlot,
};
use support::{Faulty, Running, Stage, eventually, published};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_followed_from_pending_to_settled() {
    let stage = Stage::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let consumer = stage.consumer("gated").on(move |_: Delivery<UnitPublished>| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    });
    let consumer = consumer.build().await.unwrap();
    let event = published("followed", 1);
    let key = event.idempotency_key();
    let asked = || async { stage.bridge.explain(key).store(stage.store.clone()).ask().await.unwrap() };
    assert!(asked().await.is_empty());

    stage.bridge.publish(event).await.unwrap();
    let pending = eventually("forwarded", asked, |seen| seen.forwarded().len() == 1).await;
    let place = &pending.stored()[0];
    assert_eq!((place.feed(), place.sequence()), (Feed::Strat, 1));
    assert_eq!(place.subject(), "strat.dev.unit.published");
    assert!((OffsetDateTime::now_utc() - place.stored_at()).abs() < time::Duration::MINUTE);
    let way = &pending.ways()[0];
    assert_eq!((way.durable(), way.delivery()), ("gated", DeliveryState::Pending));
    assert_eq!(way.slot(), &SeenSlot::Seen(SlotState::UNKNOWN));

    let running = Running::start(consumer);
    let is_held = |slot: &SeenSlot| matches!(slot, SeenSlot::Seen(SlotState::Held { attempts: 1, .. }));
    let held = eventually("held", asked, |seen| is_held(seen.ways()[0].slot())).await;
    assert_eq!(held.ways()[0].delivery(), DeliveryState::UnansweredOrAnswered);
    assert!(held.to_string().contains("held for attempt 1, its lease ends in "), "{held}");
    gate.add_permits(1);
    stage.all_answered(Feed::Strat, "gated").await;
    let settled = asked().await;
    assert_eq!(settled.ways()[0].delivery(), DeliveryState::Answered);
    assert_eq!(settled.ways()[0].slot(), &SeenSlot::Seen(SlotState::Settled));
    assert!(settled.dead_letters().is_empty() && settled.redrives().is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_and_redrives_of_the_event_are_found() {
    let stage = Stage::new().await;
    let consumer = stage
        .consumer("rejecting")
        .on(|_: Delivery<UnitPublished>| async { Err(HandlerError::reject("not\nfor us")) });
    let running = Running::start(consumer.build().await.unwrap());
    let event = published("rejected", 1);
    let key = event.idempotency_key();
    stage.bridge.publish(published("another", 2)).await.unwrap();
    stage.dead_letters_are(1).await;
    stage.bridge.publish(event).await.unwrap();
    stage.dead_letters_are(2).await;
    stage.bridge.dead_letters().redrive(2).await.unwrap();
    let asked = || async { stage.bridge.explain(key).ask().await.unwrap() };
    let is_there = |letters: &[_], redrives: &[_]| (letters.len(), redrives.len()) == (1, 1);
    let seen = eventually("dead letter", asked, |seen| is_there(seen.dead_letters(), seen.redrives())).await;
    assert_eq!(seen.redrives()[0].sequence(), 3);
    let (letter, text) = (&seen.dead_letters()[0], seen.to_string());
    assert_eq!((letter.consumer(), letter.original_sequence()), ("rejecting", 2));
    assert!(text.contains("of rejecting: rejected: not\\nfor us\n"), "{text}");
    assert!(text.contains("dedupe slot: not known here"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn a_search_begins_where_it_is_told_to() {
    let stage = Stage::new().await;
    let (old, new) = (published("old", 1), published("new", 2));
    let keys = [old.idempotency_key(), new.idempotency_key()];
    stage.bridge.publish(old).await.unwrap();
    let between = stage.bridge.explain(keys[0]).ask().await.unwrap().stored()[0].stored_at();
    let between = between + Duration::from_nanos(1);
    stage.bridge.publish(new).await.unwrap();
    for (key, wanted) in [(keys[0], 0), (keys[1], 1)] {
        let seen = stage.bridge.explain(key).since(between).ask().await.unwrap();
        assert_eq!(seen.stored().len(), wanted, "{seen}");
    }
    stage.context().delete_stream("CHOCO_STRATT").await.unwrap();
    let seen = stage.bridge.explain(keys[1]).ask().await.unwrap();
    assert_eq!((seen.stored().len(), seen.forwarded().len()), (1, 0));
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_is_no_error() {
    let stage = Stage::new().await;
    let consumer = stage.consumer("any").on(|_: Delivery<UnitPublished>| async { Ok(()) });
    drop(consumer.build().await.unwrap());
    let event = published("unseen", 1);
    let key = event.idempotency_key();
    stage.bridge.publish(event).await.unwrap();
    let store = Faulty::over(Arc::new(MemoryStore::new()), None);
    store.is_down(true);
    let seen = stage.bridge.explain(key).store(Arc::new(store)).ask().await.unwrap();
    let SeenSlot::Failed(why) = seen.ways()[0].slot() else { panic!("{seen}") };
    assert!(why.contains(&StoreErrorKind::Unavailable.to_string()), "{why}");
}
