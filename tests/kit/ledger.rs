//! The ledger on a real server: it balances what happened, and finds what did not.

use ledger::{Balance, Journal, Ledger, WitnessStore};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, Delivery, Event, EventBridge, Feed, HandlerError, UnitPublished,
    dead_letter::DeadLetterReason,
    dedupe::{DedupeStore, MemoryStore},
};
use support::{Running, Stage, eventually, published, quick};

const SEED: u64 = 1;
const EVENTS: u64 = 200;

struct Books {
    stage: Stage,
    ledger: Ledger,
    journal: Arc<Journal>,
    store: Arc<dyn DedupeStore>,
    _folder: tempfile::TempDir,
}

impl Books {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(SEED, folder.path().join("journal")).explaining(50);
        let journal = Arc::new(ledger.journal().unwrap());
        let store = Arc::new(WitnessStore::new(Arc::new(MemoryStore::new()), Arc::clone(&journal)));
        Self { stage: Stage::new().await, ledger, journal, store, _folder: folder }
    }

    async fn consume(&self, feed: Feed) -> Running {
        let journal = Arc::clone(&self.journal);
        let consumer = self.stage.bridge.consumer("booked", Arc::clone(&self.store)).feed(feed);
        let consumer = consumer.options(quick()).on(move |delivery: Delivery<UnitPublished>| {
            let journal = Arc::clone(&journal);
            async move {
                journal.ran(&delivery)?;
                if delivery.event().actor.as_deref() == Some("fails") {
                    return Err(HandlerError::retry("as it must"));
                }
                journal.effect(&delivery)?;
                Ok(())
            }
        });
        Running::start(consumer.build().await.unwrap())
    }

    async fn publish(&self, bridge: &EventBridge, event: UnitPublished) {
        let key = event.idempotency_key();
        self.journal.attempted(&event).unwrap();
        let result = bridge.publish(event).await;
        self.journal.published(key, &result).unwrap();
    }

    async fn balance(&self, feed: Feed) -> Balance {
        let durable = "booked".parse().unwrap();
        self.ledger.balance(&self.stage.bridge, feed, &durable, &self.store).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_handled_and_dead_lettered_balances() {
    let books = Books::open().await;
    let running = books.consume(Feed::Choco).await;
    for number in 0..EVENTS {
        let event = published(&format!("u{}", number % 7), number);
        let is_bad = number % 50 == 0;
        let event = if is_bad { event.with_actor("fails") } else { event };
        if is_bad {
            books.journal.condemned(&event, DeadLetterReason::Exhausted).unwrap();
        }
        books.publish(&books.stage.bridge, event).await;
    }
    // One whose outcome is not known: its attempts end before a paused server can answer.
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(50))
        .with_retry_budget(Duration::from_millis(100));
    let hasty = EventBridge::with_options(books.stage.client.clone(), support::source(), options);
    books.stage.server.pause().unwrap();
    books.publish(&hasty, published("late", EVENTS)).await;
    books.stage.server.resume().unwrap();
    let forwarded = || async { books.stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded events", forwarded, |messages| *messages == EVENTS + 1).await;
    books.stage.all_answered(Feed::Choco, "booked").await;
    running.stop().await;
    let balance = books.balance(Feed::Choco).await;
    assert_eq!(balance.violations(), [""; 0], "{balance}");
    assert_eq!((balance.attempts, balance.acknowledged, balance.unknown), (EVENTS + 1, EVENTS, 1));
    assert_eq!((balance.stored, balance.recovered, balance.lost), (EVENTS + 1, 1, 0));
    assert_eq!((balance.due, balance.settled, balance.dead_lettered), (EVENTS + 1, EVENTS - 3, 4));
    assert_eq!((balance.pending, balance.effects, balance.runs), (0, EVENTS - 3, EVENTS - 3 + 4 * 3));
    assert!(balance.to_string().contains("dead-lettered"), "{balance}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_and_unhandled_events_are_found() {
    let books = Books::open().await;
    let running = books.consume(Feed::Strat).await;
    for number in 1..=3 {
        books.publish(&books.stage.bridge, published("a", number)).await;
    }
    books.stage.all_answered(Feed::Strat, "booked").await;
    running.stop().await;
    let stream = books.stage.stream(Feed::Strat).await;
    stream.delete_message(2).await.unwrap();
    let balance = books.balance(Feed::Strat).await;
    assert_eq!((balance.lost, balance.violations().len()), (1, 1), "{balance}");
    assert!(balance.violations()[0].contains("was acknowledged and is not stored"), "{balance}");

    // Acknowledged to the server without any record.
    books.publish(&books.stage.bridge, published("a", 4)).await;
    let consumer =
        stream.get_consumer::<stratt_event_bridge::async_nats::jetstream::consumer::pull::Config>("booked");
    let mut messages = consumer.await.unwrap().fetch().max_messages(1).messages().await.unwrap();
    futures::StreamExt::next(&mut messages).await.unwrap().unwrap().double_ack().await.unwrap();
    let balance = books.balance(Feed::Strat).await;
    assert!(
        balance.violations().iter().any(|violation| violation.contains("1 messages are neither")),
        "{balance}"
    );
}
