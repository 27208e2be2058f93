//! Parking with processes that are killed, and redrives and discards in any order.

use crate::parking::options;
use futures::StreamExt;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Envelope, Event, EventBridge, Feed, HandlerError, UnitPublished, async_nats,
    dead_letter::{DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetterReason},
    dedupe::{KvStore, KvStoreOptions},
};
use support::{Seed, Stage, eventually, number_of, published, test_process};
use tokio::process::Child;

const URL: &str = "PARKING_TEST_URL";
/// The number of events of each unit.
const EVENTS: u64 = 4;
/// The number of units among which one has events that fail.
const FAILING: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below in processes of its own"]
async fn child_that_parks() {
    let url = std::env::var(URL).expect("the parent names its server");
    let client = async_nats::connect(&url).await.unwrap();
    let store = KvStore::create(
        client.clone(),
        KvStoreOptions::default().with_skew_margin(Duration::from_millis(200)),
    )
    .await
    .unwrap();
    let bridge = EventBridge::new(client.clone(), support::source());
    let consumer = bridge.consumer("parks", Arc::new(store)).options(options());
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
        let client = client.clone();
        async move {
            let number = number_of(delivery.event().fingerprint());
            // Some fail a second time, and some a third.
            let fails = delivery.event().actor.is_some()
                && (!delivery.is_redriven() || delivery.sequence().is_multiple_of(3));
            if fails {
                return Err(HandlerError::reject("as it must"));
            }
            let effect = format!("{} {number} {}", delivery.event().unit_uri().slug(), std::process::id());
            client.publish("effects", effect.into()).await?;
            client.flush().await?;
            Ok(())
        }
    });
    let _summary = consumer.build().await.unwrap().run(std::future::pending()).await.unwrap();
}

fn child(url: &str) -> Child {
    test_process("parking_killed::child_that_parks").env(URL, url).spawn().unwrap()
}

fn below(seed: &mut Seed, end: usize) -> usize {
    usize::try_from(seed.between(0, end.try_into().unwrap())).unwrap()
}

fn number(letter: &DeadLetter) -> u64 {
    let envelope = Envelope::<UnitPublished>::decode(letter.subject(), letter.payload()).unwrap();
    number_of(envelope.event().fingerprint())
}

/// `PARKED_UNITS=500` takes about a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_are_in_order_whatever_is_redriven_or_killed() {
    let units = std::env::var("PARKED_UNITS").map_or(120, |units| units.parse::<u64>().unwrap());
    let stage = Stage::since(11).await;
    let url = stage.server.url().to_owned();
    let effects: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let mut subscription = stage.client.subscribe("effects").await.unwrap();
    stage.client.flush().await.unwrap();
    let seen = Arc::clone(&effects);
    let collector = tokio::spawn(async move {
        while let Some(effect) = subscription.next().await {
            let text = String::from_utf8(effect.payload.to_vec()).unwrap();
            let parts: Vec<_> = text.split(' ').collect();
            seen.lock().unwrap().push((parts[0].to_owned(), parts[1].parse().unwrap()));
        }
    });
    let mut worker = child(&url);
    for event in 0..EVENTS {
        for unit in 0..units {
            let published = published(&format!("unit-{unit}"), event * units + unit);
            // Two in a row, in the middle.
            let fails =
                unit.is_multiple_of(FAILING) && (event == 1 || (event == 2 && unit.is_multiple_of(3)));
            let published = if fails { published.with_actor("fails") } else { published };
            stage.bridge.publish(published).await.unwrap();
        }
    }
    let parked = usize::try_from(units / FAILING * (EVENTS - 1)).unwrap();
    stage.dead_letters_are(parked).await;
    stage.all_answered(Feed::Strat, "parks").await;
    // No other unit is held up.
    let others = units * EVENTS - u64::try_from(parked).unwrap();
    let count = || async { effects.lock().unwrap().len() };
    eventually("others", count, |count| *count >= usize::try_from(others).unwrap()).await;

    let (mut seed, mut discarded, mut rounds) = (Seed::new(), HashSet::new(), 0);
    let dead_letters = stage.bridge.dead_letters();
    loop {
        let mut letters = stage.dead_letters().await;
        if letters.is_empty() {
            break;
        }
        rounds += 1;
        if rounds % 4 == 1 && rounds < 20 {
            worker.kill().await.unwrap();
            worker = child(&url);
        }
        for _ in 0..letters.len().min(30) {
            let letter = letters.swap_remove(below(&mut seed, letters.len()));
            let is_failed = letter.reason() != Some(DeadLetterReason::Parked);
            let done = if is_failed && below(&mut seed, 8) == 0 {
                discarded.insert(number(&letter));
                dead_letters.discard(letter.sequence()).await
            } else {
                dead_letters.redrive(letter.sequence()).await.map(|_| ())
            };
            let kind = done.as_ref().err().map(DeadLetterError::kind);
            if kind == Some(DeadLetterErrorKind::Superseded) {
                // A redrive that was withdrawn by a discard, which came after it.
                assert!(discarded.contains(&number(&letter)), "{done:?}");
                let gone = dead_letters.discard(letter.sequence()).await.err();
                // The consumer may have taken it meanwhile.
                let is_fine = gone.as_ref().is_none_or(|gone| gone.kind() == DeadLetterErrorKind::NotFound);
                assert!(is_fine, "{gone:?}");
                continue;
            }
            let is_fine =
                matches!(kind, None | Some(DeadLetterErrorKind::Parked | DeadLetterErrorKind::NotFound));
            assert!(is_fine, "{done:?} {:?}", letter.headers());
        }
    }
    stage.all_answered(Feed::Strat, "parks").await;
    collector.abort();
    let mut of_unit: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (unit, number) in effects.lock().unwrap().iter() {
        of_unit.entry(unit.clone()).or_default().push(*number);
    }
    for unit in 0..units {
        let mut numbers = of_unit.remove(&format!("unit-{unit}")).unwrap();
        // One whose process was killed before it was settled is handled again.
        numbers.dedup();
        assert!(numbers.is_sorted(), "unit-{unit}: {numbers:?}");
        let all: HashSet<_> = (0..EVENTS).map(|event| event * units + unit).collect();
        let missing = all.iter().filter(|number| !numbers.contains(number));
        let lost: Vec<_> = missing.filter(|number| !discarded.contains(number)).collect();
        assert!(lost.is_empty(), "unit-{unit}: {lost:?} of {numbers:?}");
    }
    println!("{rounds} rounds, {} discarded", discarded.len());
}
