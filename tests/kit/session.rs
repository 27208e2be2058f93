//! Sessions: an event is published, and its end at each durable is awaited.

use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, Feed, HandlerError, UnitPublished,
    dedupe::{MemoryStore, SlotState},
    explain::SeenSlot,
    testing::{Outcome, Session},
};
use support::{Running, Stage, deprecated, published, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_event_is_awaited_at_every_durable() {
    let stage = Stage::new().await;
    let mut session = Session::new(&stage.bridge);
    let mut running = Vec::new();
    for feed in [Feed::Strat, Feed::Choco] {
        let name = format!("of-{}", feed.stream());
        let store = session.observe(feed, name.parse().unwrap(), Arc::new(MemoryStore::new()));
        let consumer = stage.bridge.consumer(&name, store).options(quick()).feed(feed);
        let consumer = consumer.on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.event().uri.slug() {
                "flaky" if delivery.attempt() == 1 => Err("not yet".into()),
                "bad" => Err(HandlerError::reject("not for us")),
                _ => Ok(()),
            }
        });
        running.push(Running::start(consumer.build().await.unwrap()));
    }
    // Without an observed store, as for a consumer in another process.
    session.add(Feed::Strat, "of-STRATT_EVENTS".parse().unwrap());
    for (slug, attempts) in [("fine", 1), ("flaky", 2)] {
        let receipt = stage.bridge.publish(published(slug, 1)).await.unwrap();
        let settled = session.settled(&receipt).await.unwrap();
        assert!(settled.is_handled() && settled.outcomes().len() == 3, "{settled:?}");
        let counted: Vec<_> = settled.outcomes().iter().map(Outcome::attempts).collect();
        assert_eq!(counted, [Some(attempts), Some(attempts), None]);
    }
    let receipt = stage.bridge.publish(published("bad", 1)).await.unwrap();
    let settled = session.settled(&receipt).await.unwrap();
    for outcome in settled.outcomes() {
        assert!(!outcome.is_handled());
        assert_eq!(outcome.dead_letter().unwrap().error(), "not for us");
    }
    let letter = settled.at("of-CHOCO_STRATT").unwrap().dead_letter().unwrap().sequence();
    let receipt = stage.bridge.dead_letters().redrive(letter).await.unwrap();
    let mut choco = Session::new(&stage.bridge);
    choco.add(Feed::Choco, "of-CHOCO_STRATT".parse().unwrap());
    let again = choco.settled(&receipt).await.unwrap();
    assert!(again.at("of-CHOCO_STRATT").unwrap().dead_letter().unwrap().is_redriven());
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_not_settled_is_explained() {
    let stage = Stage::new().await;
    let mut session = Session::new(&stage.bridge).with_deadline(Duration::from_millis(200));
    let store = session.observe(Feed::Strat, "stuck".parse().unwrap(), Arc::new(MemoryStore::new()));
    let consumer = stage.bridge.consumer("stuck", store).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| std::future::pending());
    let running = Running::start(consumer.build().await.unwrap());
    let receipt = stage.bridge.publish(published("any", 1)).await.unwrap();
    let error = session.settled(&receipt).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(
        text.starts_with("event at sequence 1 is not settled at durable stuck of STRATT_EVENTS within "),
        "{text}"
    );
    assert!(text.contains("\nstored      STRATT_EVENTS 1 at "), "{text}");
    let slot = error.explanation().unwrap().ways()[0].slot();
    assert!(matches!(slot, SeenSlot::Seen(SlotState::Held { attempts: 1, .. })), "{text}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_durable_reads_is_no_event_that_was_handled() {
    let stage = Stage::new().await;
    let mut session = Session::new(&stage.bridge);
    let consumer = stage.consumer("published-only").on(|_: Delivery<UnitPublished>| async { Ok(()) });
    drop(consumer.build().await.unwrap());
    session.add(Feed::Strat, "published-only".parse().unwrap());
    let receipt = stage.bridge.publish(deprecated("any", 1)).await.unwrap();
    let error = session.settled(&receipt).await.unwrap_err();
    assert_eq!(error.to_string(), "durable published-only reads nothing on strat.dev.unit.deprecated");
    stage.stream(Feed::Strat).await.purge().await.unwrap();
    let error = session.settled(&receipt).await.unwrap_err();
    assert_eq!(error.to_string(), "event at sequence 1 of STRATT_EVENTS is gone");
}
