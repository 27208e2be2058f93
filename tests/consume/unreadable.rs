//! Events that async-nats cannot read and for which it drops the connection: none may be lost, or block others.

use async_nats::{ConnectOptions, jetstream::consumer::pull};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumerBuilder, ConsumerOptions, Delivery, EventBridge, Feed, HandlerError, Order, UnitPublished,
    acl::{ConsumerRole, Inbox},
    async_nats,
    dead_letter::{DeadLetter, DeadLetterReason},
    testing::NatsServer,
    topology::StreamSettings,
};
use support::{Log, Running, Stage, eventually, published, raw_publish, short, source};

const SUBJECT: &str = "strat.dev.unit.published";
const NO_COLON: &[u8] = b"NATS/1.0\r\nno colon\r\n\r\n";
const NOT_UTF8: &[u8] = b"NATS/1.0\r\nX-Author: Jos\xe9\r\n\r\n";

/// A consumer that counts what it handles.
fn counting(
    stage: &Stage,
    client: async_nats::Client,
    options: ConsumerOptions,
) -> (ConsumerBuilder, Arc<AtomicU32>) {
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    let consumer = EventBridge::new(client, source())
        .consumer("c", Arc::clone(&stage.store))
        .options(options)
        .on(move |_: Delivery<UnitPublished>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
    (consumer, handled)
}

/// Starts a consumer on a connection of its own, which is cut.
async fn running(stage: &Stage, order: Order) -> (Running, Arc<AtomicU32>) {
    let client = async_nats::connect(stage.server.url()).await.unwrap();
    let (consumer, handled) = counting(stage, client, short().with_order(order).with_max_in_flight(8));
    (Running::start(consumer.build().await.unwrap()), handled)
}

/// Stores the message before five valid events, and checks that those are handled and the message is dead-lettered.
async fn is_dead_lettered(stage: &Stage, order: Order, subject: &[u8], header: &[u8]) {
    raw_publish(stage.server.url(), subject, header, b"original").await;
    for number in 1..=5 {
        stage.bridge.publish(published("unit", number)).await.unwrap();
    }
    let (running, handled) = running(stage, order).await;
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 5).await;
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert_eq!((letter.stream_sequence(), letter.reason()), (1, Some(DeadLetterReason::Invalid)));
    assert_eq!(
        (letter.subject(), &letter.payload()[..]),
        (&*String::from_utf8_lossy(subject), &b"original"[..])
    );
    assert!(letter.are_headers_omitted() && letter.deliveries() >= 1, "{letter:?}");
    stage.all_answered(Feed::Strat, "c").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, stage.dead_letters().await.len()), (5, 1), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_without_a_colon_is_dead_lettered() {
    is_dead_lettered(&Stage::new().await, Order::Relaxed, SUBJECT.as_bytes(), NO_COLON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_no_utf8_holds_up_no_order() {
    is_dead_lettered(&Stage::since(11).await, Order::PerUnit, SUBJECT.as_bytes(), NOT_UTF8).await;
}

/// The parser splits its arguments at every kind of blank.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_with_a_blank_is_dead_lettered() {
    let subject = "strat.de\u{a0}v.unit.published".as_bytes();
    is_dead_lettered(&Stage::new().await, Order::Relaxed, subject, b"NATS/1.0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_is_no_utf8_is_dead_lettered() {
    let subject = b"strat.de\xffv.unit.published";
    is_dead_lettered(&Stage::new().await, Order::Relaxed, subject, b"NATS/1.0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_retry_is_left_alone() {
    let stage = Stage::new().await;
    let client = async_nats::connect(stage.server.url()).await.unwrap();
    let consumer = EventBridge::new(client, source())
        .consumer("c", Arc::clone(&stage.store))
        .options(short().with_retry_delays([Duration::from_secs(9)]))
        .on(|delivery: Delivery<UnitPublished>| async move {
            if delivery.attempt() == 1 { Err(HandlerError::retry("later")) } else { Ok(()) }
        });
    stage.bridge.publish(published("waits", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    let context = stage.context();
    let unanswered = || async {
        let durable = context.get_consumer_from_stream::<pull::Config, _, _>("c", "STRATT_EVENTS").await;
        durable.unwrap().cached_info().num_ack_pending
    };
    eventually("unanswered", unanswered, |unanswered| *unanswered == 1).await;
    for header in [NO_COLON, NOT_UTF8] {
        raw_publish(stage.server.url(), SUBJECT, header, b"original").await;
    }
    let mut letters: Vec<_> =
        stage.dead_letters_are(2).await.iter().map(DeadLetter::stream_sequence).collect();
    letters.sort_unstable();
    assert_eq!(letters, [2, 3]);
    stage.all_answered(Feed::Strat, "c").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, stage.dead_letters().await.len()), (1, 2), "{summary:?}");
}

#[tokio::test]
async fn who_may_not_look_at_events_is_told_where_to_look() {
    let role = ConsumerRole::new(Feed::Strat, "c".parse().unwrap()).creating_durable();
    let inbox = Inbox::of_user("c").unwrap();
    let users = format!(
        "no_auth_user: admin\nauthorization {{ users: [ {{ user: admin, password: pw }}\n\
         {{ user: c, password: pw, permissions: {} }} ] }}",
        role.permissions(&inbox)
    );
    let stage = Stage::on(NatsServer::builder().config(users).start().await.unwrap()).await;
    raw_publish(stage.server.url(), SUBJECT, NO_COLON, b"original").await;
    let log = Log::listen();
    let client = ConnectOptions::with_user_and_password("c".into(), "pw".into())
        .custom_inbox_prefix(inbox.prefix())
        .connect(stage.server.url())
        .await
        .unwrap();
    let (consumer, handled) = counting(&stage, client, short().with_ack_wait(Duration::from_secs(5)));
    let running = Running::start(consumer.build().await.unwrap());
    let told =
        ["ERROR", "STRATT_EVENTS", "from=1 to=1", "$JS.API.STREAM.MSG.GET.STRATT_EVENTS", "stream rmm"];
    eventually("told", || async { log.count_all(&told) }, |lines| *lines > 0).await;
    assert!(stage.dead_letters().await.is_empty());
    // The cure that it names.
    stage.stream(Feed::Strat).await.delete_message(1).await.unwrap();
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 1).await;
    stage.all_answered(Feed::Strat, "c").await;
    running.stop().await;
}

/// The event was given up by a client that can read it, or that does not look at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_files_what_cannot_be_read() {
    let stage = Stage::new().await;
    let sweeper = stage.bridge.sweeper(Feed::Strat);
    sweeper.provision(&StreamSettings::default()).await.unwrap();
    raw_publish(stage.server.url(), SUBJECT, NO_COLON, b"original").await;
    let config = pull::Config { durable_name: Some("plain".into()), ..pull::Config::default() };
    stage.stream(Feed::Strat).await.create_consumer(config).await.unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.STRATT_EVENTS.plain";
    raw_publish(stage.server.url(), next, b"NATS/1.0\r\n\r\n", b"1").await;
    stage.client.request("$JS.ACK.STRATT_EVENTS.plain.1.1.1.0.0", "+TERM".into()).await.unwrap();
    let sweeping = tokio::spawn(async move { sweeper.run(std::future::pending()).await });
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert_eq!((letter.reason(), letter.consumer()), (Some(DeadLetterReason::Rejected), "plain"));
    assert!(letter.are_headers_omitted() && letter.payload() == "original", "{letter:?}");
    sweeping.abort();
    let redriven = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap();
    let again = stage.stream(Feed::Strat).await.get_raw_message(redriven.sequence()).await.unwrap();
    assert_eq!(again.payload, "original");
}
