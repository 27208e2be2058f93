//! Consumer processes that die: in the handler, and at every point between claim, effect, dead letter and answer.

use futures::{StreamExt, future::join_all};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConsumerBuilder, ConsumerOptions, Delivery, EventBridge, Feed, HandlerError, UnitPublished,
    async_nats::{
        self,
        jetstream::{self, kv},
    },
    dead_letter::DeadLetterReason,
    dedupe::{KvStore, KvStoreOptions},
};
use support::{DEADLINE, DiesAfter, Faulty, Running, Stage, published, quick, source, test_process};
use tokio::process::Child;

const URL: &str = "CRASH_TEST_URL";
const DEATH: &str = "CRASH_TEST_DEATH";

fn options() -> ConsumerOptions {
    quick()
        .with_max_in_flight(1)
        .with_processing_timeout(Duration::from_millis(700))
        .with_lease(Duration::from_millis(1100))
        .with_ack_wait(Duration::from_millis(1300))
}

async fn consumer(url: &str, death: Option<DiesAfter>) -> ConsumerBuilder {
    let client = async_nats::connect(url).await.unwrap();
    // The claim of a dead process outlasts the redelivery of its message, which finds the slot held and must not be
    // acknowledged for that.
    let kv = KvStoreOptions::default().with_skew_margin(Duration::from_secs(1));
    let store = KvStore::create(client.clone(), kv).await.unwrap();
    let store = Arc::new(Faulty::over(Arc::new(store), death));
    EventBridge::new(client, source()).consumer("mortal", store).options(options())
}

/// Returns whether the event has not been run before, by any process.
async fn is_first_run(client: &async_nats::Client, sequence: u64) -> Result<bool, HandlerError> {
    let runs = kv::Config { bucket: "runs".to_owned(), ..kv::Config::default() };
    let runs = jetstream::new(client.clone()).create_key_value(runs).await?;
    Ok(runs.create(sequence.to_string(), "".into()).await.is_ok())
}

/// Handles an event in a child process: reports it on a subject, and then dies if the event asks for that.
async fn handle(client: async_nats::Client, delivery: Delivery<UnitPublished>) -> Result<(), HandlerError> {
    client.publish("effects", delivery.sequence().to_string().into()).await?;
    client.flush().await?;
    let dies = match delivery.event().actor.as_deref() {
        Some("kills every process") => true,
        Some("kills the first process") => is_first_run(&client, delivery.sequence()).await?,
        _ => false,
    };
    if dies {
        std::process::abort();
    }
    match delivery.event().actor.as_deref() {
        Some("is rejected") => Err(HandlerError::reject("as it must")),
        Some("always fails") => Err(HandlerError::retry("as it must")),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests below in processes of its own"]
async fn child_that_consumes() {
    let url = std::env::var(URL).expect("the parent names its server");
    let client = async_nats::connect(&url).await.unwrap();
    let death = std::env::var(DEATH).ok().map(|point| point.parse().unwrap());
    let consumer = consumer(&url, death).await.on(move |delivery| handle(client.clone(), delivery));
    consumer.build().await.unwrap().run(std::future::pending()).await.unwrap();
}

/// Runs the test above in a process of its own, which dies at this point, if there is one.
fn child(url: &str, death: Option<DiesAfter>) -> Child {
    test_process("crash::child_that_consumes")
        .env(URL, url)
        .envs(death.map(|point| (DEATH, format!("{point:?}"))))
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_kills_its_process_is_dead_lettered_alone() {
    let stage = Stage::new().await;
    let mut effects = stage.client.subscribe("effects").await.unwrap();
    stage.client.flush().await.unwrap();
    let url = stage.server.url().to_owned();
    // A supervisor restarts the process whenever it dies.
    let supervisor = tokio::spawn(async move {
        loop {
            let mut child = child(&url, None);
            child.wait().await.unwrap();
        }
    });
    for (number, actor) in [(1, "kills every process"), (2, "kills the first process"), (3, "harms nobody")] {
        stage.bridge.publish(published(&format!("u{number}"), number).with_actor(actor)).await.unwrap();
    }
    let letters = stage.dead_letters_are(1).await;
    assert_eq!((letters[0].stream_sequence(), letters[0].reason()), (1, Some(DeadLetterReason::Exhausted)));
    stage.all_answered(Feed::Strat, "mortal").await;
    supervisor.abort();
    stage.client.publish("effects", "end".into()).await.unwrap();
    let mut runs = [0; 4];
    while let Some(effect) = effects.next().await {
        let Ok(sequence) = str::from_utf8(&effect.payload).unwrap().parse::<usize>() else { break };
        runs[sequence] += 1;
    }
    // Twice in company, which does not count, and then alone for as long as it may.
    assert_eq!(runs[1..], [5, 2, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_dead_process_is_picked_up_by_another() {
    let stage = Stage::new().await;
    let url = stage.server.url().to_owned();
    let mut effects = stage.client.subscribe("effects").await.unwrap();
    stage.client.flush().await.unwrap();
    let mut child = child(&url, None);
    stage.bridge.publish(published("a", 1).with_actor("kills the first process")).await.unwrap();
    effects.next().await.unwrap();
    child.wait().await.unwrap();
    let client = stage.client.clone();
    let heir = consumer(&url, None)
        .await
        .on(move |delivery| handle(client.clone(), delivery))
        .build()
        .await
        .unwrap();
    let heir = Running::start(heir);
    tokio::time::timeout(DEADLINE, effects.next()).await.expect("nobody picked it up").unwrap();
    stage.all_answered(Feed::Strat, "mortal").await;
    assert_eq!(heir.stop().await.handled, 1);
}

/// The observations after a process died at some point and another one took its place.
#[derive(Debug, PartialEq, Eq)]
struct Aftermath {
    /// Runs of the handler, in both processes.
    effects: usize,
    letters: usize,
    heir: (&'static str, u64),
}

async fn aftermath(death: DiesAfter, actor: &str) -> Aftermath {
    let stage = Stage::new().await;
    let url = stage.server.url().to_owned();
    let effects = stage.client.subscribe("effects").await.unwrap();
    stage.client.flush().await.unwrap();
    let mut child = child(&url, Some(death));
    stage.bridge.publish(published("a", 1).with_actor(actor)).await.unwrap();
    let status = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it lives on").unwrap();
    assert_eq!(status.code(), None, "it ended by itself");
    let client = stage.client.clone();
    let heir = consumer(&url, None).await.on(move |delivery| handle(client.clone(), delivery));
    let heir = Running::start(heir.build().await.unwrap());
    stage.all_answered(Feed::Strat, "mortal").await;
    let heir = heir.stop().await;
    let endings = [
        ("handled", heir.handled),
        ("skipped", heir.duplicates),
        ("rejected", heir.rejected),
        ("exhausted", heir.exhausted),
    ];
    let ending = endings.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
    let &[heir] = ending.as_slice() else { panic!("{ending:?}") };
    stage.client.publish("effects", "end".into()).await.unwrap();
    let effects = effects.take_while(|effect| std::future::ready(effect.payload != "end")).count().await;
    Aftermath { effects, letters: stage.dead_letters().await.len(), heir }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_after_the_claim_dead_letters_nothing() {
    let seen = aftermath(DiesAfter::Claim, "harms nobody").await;
    assert_eq!(seen, Aftermath { effects: 1, letters: 0, heir: ("handled", 1) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_after_the_effect_repeats_it_once() {
    let seen = aftermath(DiesAfter::Effect, "harms nobody").await;
    assert_eq!(seen, Aftermath { effects: 2, letters: 0, heir: ("handled", 1) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_after_the_settle_repeats_nothing() {
    let seen = aftermath(DiesAfter::Settle, "harms nobody").await;
    assert_eq!(seen, Aftermath { effects: 1, letters: 0, heir: ("skipped", 1) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_after_the_dead_letter_stores_no_second_one() {
    // A slot that was not forgotten yet remembers that its attempts are used up; a forgotten one starts afresh.
    let cases = [
        (DiesAfter::DeadLetter, "is rejected", 2, "rejected"),
        (DiesAfter::Forget, "is rejected", 2, "rejected"),
        // The claim of the last attempt expired, which might have been the fault of another event: it is repeated.
        (DiesAfter::DeadLetter, "always fails", 4, "exhausted"),
        (DiesAfter::Forget, "always fails", 6, "exhausted"),
    ];
    join_all(cases.map(|(death, actor, effects, ending)| async move {
        let seen = aftermath(death, actor).await;
        assert_eq!(seen, Aftermath { effects, letters: 1, heir: (ending, 1) }, "{death:?}, {actor}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_to_clients_that_die_cost_no_attempt() {
    let stage = Stage::new().await;
    let options = quick()
        .with_processing_timeout(Duration::from_millis(100))
        .with_lease(Duration::from_millis(300))
        .with_ack_wait(Duration::from_millis(300));
    let consumer = || {
        let consumer = stage.consumer("unlucky").options(options.clone());
        consumer.on(|delivery: Delivery<UnitPublished>| async move {
            assert_eq!(delivery.attempt(), 1);
            Ok(())
        })
    };
    drop(consumer().build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    for _ in 0..10 {
        let client = stage.server.connect().await.unwrap();
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.unwrap();
        let request = r#"{"batch":1,"expires":30000000000}"#;
        let next = "$JS.API.CONSUMER.MSG.NEXT.STRATT_EVENTS.unlucky";
        client.publish_with_reply(next, inbox, request.into()).await.unwrap();
        let message = tokio::time::timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
        assert_eq!(message.status, None);
    }
    let running = Running::start(consumer().build().await.unwrap());
    stage.all_answered(Feed::Strat, "unlucky").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.retried), (1, 0));
    let info = stage.stream(Feed::Strat).await.consumer_info("unlucky").await.unwrap();
    assert!(info.delivered.consumer_sequence > 10);
    assert!(stage.dead_letters().await.is_empty());
}
