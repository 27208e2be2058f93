//! The sweeper: dead letters for plain consumers of JetStream, and none for those of this crate.

use async_nats::{
    ConnectOptions,
    jetstream::{
        AckKind, Message,
        consumer::{AckPolicy, pull},
    },
};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, EventBridge, Feed, HandlerError, UnitDeprecated, UnitPublished, async_nats,
    dead_letter::{DeadLetter, DeadLetterReason, SweepError, SweepErrorKind, SweepSummary, Sweeper},
    dedupe::MemoryStore,
    testing::NatsServer,
    topology::{
        ADVISORY_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, StreamSettings, Topology, TopologyErrorKind,
    },
};
use support::{DEADLINE, Running, Stage, deprecated, eventually, published, source};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// Starts a consumer that knows nothing of this crate and ends with the test.
struct Plain(JoinHandle<()>);

impl Drop for Plain {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone, Copy)]
enum Habit {
    Naks,
    IsSilent,
    Terminates(&'static str),
}

async fn plain(stage: &Stage, feed: Feed, name: &str, max_deliver: i64, habit: Habit) -> Plain {
    let config = pull::Config {
        durable_name: Some(name.into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_millis(300),
        max_deliver,
        ..pull::Config::default()
    };
    let consumer = stage.stream(feed).await.create_consumer(config).await.unwrap();
    Plain(tokio::spawn(async move {
        loop {
            let asked = consumer.batch().max_messages(10).expires(Duration::from_secs(1)).messages().await;
            let Ok(mut messages) = asked else { continue };
            while let Some(message) = messages.next().await {
                if let Ok(message) = message {
                    answer(&message, habit).await;
                }
            }
        }
    }))
}

async fn answer(message: &Message, habit: Habit) {
    match habit {
        Habit::Naks => message.ack_with(AckKind::Nak(None)).await.unwrap(),
        Habit::IsSilent => {}
        Habit::Terminates(reason) => {
            let reply = message.reply.clone().unwrap();
            message.context.client().publish(reply, format!("+TERM{reason}").into()).await.unwrap();
        }
    }
}

struct Sweeping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<SweepSummary, SweepError>>,
}

impl Sweeping {
    fn start(sweeper: Sweeper) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            sweeper
                .run(async move {
                    let _stopped_or_dropped = stopped.await;
                })
                .await
        });
        Self { stop, task }
    }

    async fn stop(self) -> SweepSummary {
        self.stop.send(()).expect("the sweeper ended by itself");
        timeout(DEADLINE, self.task).await.expect("the sweeper ends").unwrap().unwrap()
    }
}

async fn sweeper(stage: &Stage, feed: Feed) -> Sweeper {
    let sweeper = stage.bridge.sweeper(feed);
    sweeper.provision(&StreamSettings::default()).await.unwrap();
    sweeper
}

/// Returns how many advisories there were, and how many are left.
async fn advisories(stage: &Stage) -> (u64, u64) {
    let Ok(stream) = stage.context().get_stream(ADVISORY_STREAM).await else { return (0, 0) };
    let state = &stream.cached_info().state;
    (state.last_sequence, state.messages)
}

/// For a server that was killed: it may have forgotten an advisory, and send it once more.
async fn advisories_left_are(stage: &Stage, wanted: u64) {
    eventually("advisories that are left", || advisories(stage), |seen| seen.1 == wanted).await;
}

async fn advisories_are(stage: &Stage, wanted: (u64, u64)) {
    eventually("advisories and how many are left", || advisories(stage), |seen| *seen == wanted).await;
}

fn told(letter: &DeadLetter) -> (&str, DeadLetterReason, u64, &str) {
    (letter.consumer(), letter.reason().unwrap(), letter.deliveries(), letter.error())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_of_deliveries_stores_the_original_and_reason() {
    let stage = Stage::new().await;
    let sweeping = Sweeping::start(sweeper(&stage, Feed::Strat).await);
    let feed = Feed::Strat;
    let _consumers = [
        plain(&stage, feed, "naks", 3, Habit::Naks).await,
        plain(&stage, feed, "silent", 2, Habit::IsSilent).await,
        plain(&stage, feed, "terminates", -1, Habit::Terminates(" no such\u{1b}[2J host")).await,
        plain(&stage, feed, "terse", -1, Habit::Terminates("")).await,
    ];
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let mut letters = stage.dead_letters_are(4).await;
    letters.sort_by(|one, other| one.consumer().cmp(other.consumer()));
    let most = |count| format!("not acknowledged in {count} deliveries, the most that the consumer allows");
    let wanted = [
        ("naks", DeadLetterReason::Exhausted, 3, &*most(3)),
        ("silent", DeadLetterReason::Exhausted, 2, &*most(2)),
        ("terminates", DeadLetterReason::Rejected, 1, "no such\\u{1b}[2J host"),
        ("terse", DeadLetterReason::Rejected, 1, "terminated by the consumer, without a reason"),
    ];
    assert_eq!(letters.iter().map(told).collect::<Vec<_>>(), wanted);
    let original = stage.stream(Feed::Strat).await.get_raw_message(1).await.unwrap();
    let dead_letters = stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap();
    for letter in &letters {
        assert_eq!(letter.payload(), &original.payload);
        assert_eq!((letter.stream(), letter.stream_sequence()), (EVENT_STREAM, 1));
        assert_eq!(letter.subject(), "strat.dev.unit.published");
        assert!(letter.time().is_some() && letter.envelope().is_ok());
        assert_eq!(letter.headers().get("Content-Type").unwrap().as_str(), "application/json");
        let id = format!("STRATT_EVENTS:1:{}", letter.consumer());
        assert_eq!(letter.headers().get("Nats-Msg-Id").unwrap().as_str(), id);
        let stored = dead_letters.get_raw_message(letter.sequence()).await.unwrap();
        assert_eq!(stored.subject, format!("stratt.dlq.{}.dev.unit.published", letter.consumer()).into());
    }
    advisories_are(&stage, (4, 0)).await;
    let summary = sweeping.stop().await;
    assert_eq!((summary.exhausted, summary.rejected, summary.postponed), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_consumers_store_their_own_letters_and_no_second_ones() {
    let stage = Stage::new().await;
    let sweeping = Sweeping::start(sweeper(&stage, Feed::Strat).await);
    let ours = stage
        .consumer("ours")
        .on(|_: Delivery<UnitPublished>| async { Err(HandlerError::retry("down")) })
        .on(|_: Delivery<UnitDeprecated>| async { Err(HandlerError::reject("never")) });
    let ours = Running::start(ours.build().await.unwrap());
    let _theirs = plain(&stage, Feed::Strat, "theirs", 1, Habit::Naks).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(deprecated("b", 2)).await.unwrap();
    stage.context().publish("strat.dev.unit.published", "not json".into()).await.unwrap().await.unwrap();
    let letters = stage.dead_letters_are(6).await;
    // Three terminations by ours, three exhausted by theirs.
    advisories_are(&stage, (6, 0)).await;
    let summary = sweeping.stop().await;
    assert_eq!((summary.already_stored, summary.exhausted, summary.rejected), (3, 3, 0));
    assert_eq!(stage.dead_letters().await.len(), letters.len());
    assert_eq!(letters.iter().filter(|letter| letter.consumer() == "ours").count(), 3);
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_outlives_the_server_and_catches_up() {
    let mut stage = Stage::new().await;
    let (stream, feed) = (sweeper(&stage, Feed::Choco).await, Feed::Choco);
    let plain = plain(&stage, feed, "plain", 1, Habit::Naks).await;
    let sweeping = Sweeping::start(stream.clone());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    stage.server.kill();
    stage.server.restart().await.unwrap();
    stage.bridge.publish(published("b", 2)).await.unwrap();
    stage.dead_letters_are(2).await;
    advisories_left_are(&stage, 0).await;
    sweeping.stop().await;

    stage.bridge.publish(published("c", 3)).await.unwrap();
    advisories_left_are(&stage, 1).await;
    drop(plain);
    stage.server.kill();
    stage.server.restart().await.unwrap();
    let sweeping = Sweeping::start(stream);
    let letters = stage.dead_letters_are(3).await;
    assert!(letters.iter().all(|letter| letter.stream() == feed.stream()));
    advisories_left_are(&stage, 0).await;
    assert!(sweeping.stop().await.exhausted > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sweepers_share_the_work_and_a_repeat_is_dropped() {
    let stage = Stage::new().await;
    let shared = sweeper(&stage, Feed::Strat).await;
    let sweepers = [Sweeping::start(shared.clone()), Sweeping::start(shared)];
    let _plain = plain(&stage, Feed::Strat, "plain", 1, Habit::Naks).await;
    for number in 1..=20 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    stage.dead_letters_are(20).await;
    advisories_are(&stage, (20, 0)).await;
    // The leftover of a sweeper that died before it acknowledged.
    let again = r#"{"timestamp":"2999-01-01T00:00:00Z","stream":"STRATT_EVENTS","consumer":"plain","stream_seq":7,"deliveries":1}"#;
    let subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.STRATT_EVENTS.plain";
    stage.client.publish(subject, again.into()).await.unwrap();
    advisories_are(&stage, (21, 0)).await;
    let mut exhausted = 0;
    for sweeping in sweepers {
        exhausted += sweeping.stop().await.exhausted;
    }
    assert!(exhausted >= 21, "{exhausted}");
    assert_eq!(stage.dead_letters().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_message_is_never_taken_for_another_event() {
    let stage = Stage::new().await;
    let sweeper = sweeper(&stage, Feed::Strat).await;
    let naks = plain(&stage, Feed::Strat, "plain", 1, Habit::Naks).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(published("b", 2)).await.unwrap();
    advisories_are(&stage, (2, 2)).await;
    drop(naks);
    stage.stream(Feed::Strat).await.delete_message(1).await.unwrap();
    let sweeping = Sweeping::start(sweeper.clone());
    stage.dead_letters_are(1).await;
    advisories_are(&stage, (2, 0)).await;
    let summary = sweeping.stop().await;
    assert_eq!((summary.gone, summary.exhausted), (1, 1));

    let naks = plain(&stage, Feed::Strat, "again", 1, Habit::Naks).await;
    advisories_are(&stage, (3, 1)).await;
    drop(naks);
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.bridge.provision(&Topology::default()).await.unwrap();
    // Another event, at the sequence that the advisory names.
    stage.bridge.publish(published("c", 3)).await.unwrap();
    stage.bridge.publish(published("d", 4)).await.unwrap();
    let sweeping = Sweeping::start(sweeper);
    advisories_are(&stage, (3, 0)).await;
    let summary = sweeping.stop().await;
    assert_eq!((summary.gone, summary.exhausted), (1, 0));
    assert_eq!(stage.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redriven_letter_reaches_the_consumer_that_failed() {
    let stage = Stage::new().await;
    let sweeping = Sweeping::start(sweeper(&stage, Feed::Choco).await);
    let failing = plain(&stage, Feed::Choco, "plain", 1, Habit::Naks).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    drop(failing);
    let receipt = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap();
    assert!(!receipt.is_duplicate());
    assert!(stage.dead_letters().await.is_empty());
    let consumer = stage.stream(Feed::Choco).await.get_consumer::<pull::Config>("plain").await.unwrap();
    let mut messages = consumer.batch().max_messages(1).expires(DEADLINE).messages().await.unwrap();
    let redriven = messages.next().await.unwrap().unwrap();
    assert_eq!((&redriven.payload, redriven.info().unwrap().stream_sequence), (letter.payload(), 2));
    redriven.ack().await.unwrap();
    sweeping.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_beyond_the_contract_are_stored_forgeries_are_not() {
    let stage = Stage::new().await;
    let sweeping = Sweeping::start(sweeper(&stage, Feed::Strat).await);
    let _consumers = [
        plain(&stage, Feed::Strat, "grün:1", 1, Habit::Naks).await,
        plain(&stage, Feed::Strat, "grün:2", 1, Habit::Naks).await,
    ];
    for (consumer, text) in [("forged", "not json"), ("other", r#"{"consumer":"c"}"#)] {
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STRATT_EVENTS.{consumer}");
        stage.client.publish(subject, text.into()).await.unwrap();
    }
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let letters = stage.dead_letters_are(2).await;
    advisories_are(&stage, (4, 0)).await;
    let mut consumers: Vec<_> = letters.iter().map(DeadLetter::consumer).collect();
    consumers.sort_unstable();
    assert_eq!(consumers, ["grün:1", "grün:2"]);
    let stored = stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap();
    assert_eq!(&*stored.get_raw_message(1).await.unwrap().subject, "stratt.dlq._.dev.unit.published");
    let summary = sweeping.stop().await;
    assert_eq!((summary.ignored, summary.exhausted), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_does_not_fit_is_filed_when_there_is_room() {
    let stage = Stage::new().await;
    let full = StreamSettings::default().with_max_messages(1);
    stage.bridge.provision(&Topology::default().with_dead_letters(full)).await.unwrap();
    let sweeping = Sweeping::start(sweeper(&stage, Feed::Strat).await);
    let _plain = plain(&stage, Feed::Strat, "plain", 1, Habit::Naks).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(published("b", 2)).await.unwrap();
    let unanswered = || async {
        let stream = stage.context().get_stream(ADVISORY_STREAM).await.unwrap();
        let durable = stream.get_consumer::<pull::Config>("sweeper-STRATT_EVENTS").await.unwrap();
        let info = durable.cached_info();
        (info.num_ack_pending, info.num_redelivered, stage.dead_letters().await.len())
    };
    // Given back at least once, and still to be stored.
    eventually("postponed", unanswered, |seen| seen.1 > 0 && seen.2 == 1).await;
    let dead_letters = Arc::new(stage.bridge.dead_letters());
    let first = stage.dead_letters().await.remove(0);
    dead_letters.discard(first.sequence()).await.unwrap();
    let letters = stage.dead_letters_are(1).await;
    assert_ne!(letters[0].stream_sequence(), first.stream_sequence());
    advisories_are(&stage, (2, 0)).await;
    let summary = sweeping.stop().await;
    assert!(summary.exhausted == 2 && summary.postponed > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_needs_its_stream_to_start_and_to_go_on() {
    let stage = Stage::new().await;
    let missing = stage.bridge.sweeper(Feed::Strat);
    let error = missing.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), SweepErrorKind::StreamNotFound);
    assert_eq!(error.to_string(), "stream STRATT_ADVISORIES does not exist: provision it");
    let short = StreamSettings::default().with_max_age(Duration::from_hours(1));
    missing.provision(&short).await.unwrap();
    missing.provision(&StreamSettings::default()).await.unwrap();
    let invalid = StreamSettings::default().with_replicas(0);
    assert_eq!(missing.provision(&invalid).await.unwrap_err().kind(), TopologyErrorKind::InvalidSettings);
    let sweeping = Sweeping::start(missing);
    let context = stage.context();
    let durable = || async {
        let stream = context.get_stream(ADVISORY_STREAM).await.unwrap();
        stream.consumer_info("sweeper-STRATT_EVENTS").await.is_ok()
    };
    eventually("durable", durable, |exists| *exists).await;
    // A deleted durable is recreated.
    context.delete_consumer_from_stream("sweeper-STRATT_EVENTS", ADVISORY_STREAM).await.unwrap();
    eventually("durable again", durable, |exists| *exists).await;
    context.delete_stream(ADVISORY_STREAM).await.unwrap();
    let error = timeout(DEADLINE, sweeping.task).await.expect("the sweeper ends").unwrap().unwrap_err();
    assert_eq!(error.kind(), SweepErrorKind::StreamNotFound);
}

const USERS: &str = r#"authorization { users: [
    { user: admin, password: pw }
    { user: sweeper, password: pw, permissions: {
        publish: { allow: [
            "$JS.API.CONSUMER.CREATE.STRATT_ADVISORIES.>", "$JS.API.CONSUMER.MSG.NEXT.STRATT_ADVISORIES.*"
            "$JS.ACK.STRATT_ADVISORIES.>", "stratt.dlq.>"
            "$JS.API.STREAM.INFO.STRATT_EVENTS", "$JS.API.STREAM.MSG.GET.STRATT_EVENTS" ] }
        subscribe: { allow: ["_INBOX.>"] } } } ] }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permissions_that_are_documented_are_enough() {
    let server = NatsServer::builder().config(USERS).start().await.unwrap();
    let connect = |user: &str| {
        let options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
        let url = server.url().to_owned();
        async move { options.connect(url).await.unwrap() }
    };
    let (client, limited) = (connect("admin").await, connect("sweeper").await);
    let bridge = EventBridge::new(client.clone(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    let stage = Stage { server, client, bridge, store: Arc::new(MemoryStore::new()) };
    sweeper(&stage, Feed::Strat).await;
    let sweeping = Sweeping::start(EventBridge::new(limited, source()).sweeper(Feed::Strat));
    let _plain = plain(&stage, Feed::Strat, "plain", 1, Habit::Naks).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    advisories_are(&stage, (1, 0)).await;
    assert_eq!(sweeping.stop().await.exhausted, 1);
}
