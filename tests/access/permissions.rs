//! Users that lack a permission: the error names it within a second or two, instead of an endless time-out.

use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConnectionWatch, ConsumeError, ConsumeErrorKind, ConsumerBuilder, ConsumerOptions, Delivery, EventBridge,
    Feed, HandlerError, PublishErrorKind, UnitPublished,
    async_nats::{self, ConnectOptions, HeaderMap, jetstream},
    dedupe::{DedupeStore, KvStore, KvStoreOptions, MemoryStore},
    testing::NatsServer,
    topology::{DEAD_LETTER_STREAM, Topology},
};
use support::{Running, eventually, published, source};
use tokio::time::Instant;

/// The permissions of a publisher of domain `dev`, and of a consumer of a durable that exists.
const PUBLISHER: &str = r#"publish: ["strat.dev.>"], subscribe: ["_INBOX.>"]"#;
const CONSUMER: &str = r#"
    publish: ["$JS.API.CONSUMER.INFO.CHOCO_STRATT.adapter", "$JS.API.CONSUMER.MSG.NEXT.CHOCO_STRATT.adapter",
              "$JS.ACK.CHOCO_STRATT.adapter.>", "stratt.dlq.adapter.>"],
    subscribe: ["_INBOX.>"]"#;

fn users(permissions: &str) -> String {
    format!(
        "authorization {{ users: [
            {{ user: admin, password: pw }}
            {{ user: service, password: pw, permissions: {{ {permissions} }} }} ] }}"
    )
}

/// A server with the three streams, a user that may do everything, and one that may do what is allowed by name.
struct Guarded {
    server: NatsServer,
    admin: EventBridge,
    service: EventBridge,
}

impl Guarded {
    async fn new(permissions: &str) -> Self {
        let server = NatsServer::builder().config(users(permissions)).start().await.unwrap();
        let admin = EventBridge::new(connect(&server, "admin", None).await, source());
        admin.provision(&Topology::default()).await.unwrap();
        let watch = ConnectionWatch::new();
        let service = EventBridge::new(connect(&server, "service", Some(&watch)).await, source());
        Self { server, admin, service: service.with_connection_watch(watch) }
    }

    /// A server on which the durable `adapter` exists.
    async fn with_durable(permissions: &str) -> Self {
        let guarded = Self::new(permissions).await;
        drop(adapter(&guarded.admin).build().await.unwrap());
        guarded
    }

    /// Changes the permissions as an operator would: writes the file and has the server reload it.
    async fn allow_only(&self, old: &str, new: &str) {
        let file = self.server.folder().join("nats-server.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old));
        std::fs::write(&file, text.replace(old, new)).unwrap();
        let pid = self.server.pid().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        let log = self.server.folder().join("nats-server.log");
        let reloaded =
            || async { std::fs::read_to_string(&log).unwrap().contains("Reloaded server configuration") };
        eventually("reloaded", reloaded, |reloaded| *reloaded).await;
    }

    async fn all_answered(&self) {
        let context = jetstream::new(self.admin.client().clone());
        let stream = context.get_stream(Feed::Choco.stream()).await.unwrap();
        let left = || async {
            let info = stream.consumer_info("adapter").await.unwrap();
            (info.ack_floor.stream_sequence > 0, info.num_pending, info.num_ack_pending)
        };
        eventually("left", left, |left| *left == (true, 0, 0)).await;
    }
}

async fn connect(server: &NatsServer, user: &str, watch: Option<&ConnectionWatch>) -> async_nats::Client {
    let mut options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
    if let Some(watch) = watch {
        options = options.event_callback(watch.callback());
    }
    options.connect(server.url()).await.unwrap()
}

fn adapter(bridge: &EventBridge) -> ConsumerBuilder {
    with_store(bridge, Arc::new(MemoryStore::new()))
}

fn with_store(bridge: &EventBridge, store: Arc<dyn DedupeStore>) -> ConsumerBuilder {
    let options = ConsumerOptions::default()
        .with_retry_delays([Duration::from_millis(20)])
        .with_shutdown_grace(Duration::from_secs(1));
    let builder = bridge.consumer("adapter", store).feed(Feed::Choco).options(options);
    builder.on(|delivery: Delivery<UnitPublished>| async move {
        if delivery.event().uri.to_string().contains("poison") {
            return Err(HandlerError::reject("poison"));
        }
        Ok(())
    })
}

fn unchecked(bridge: &EventBridge) -> ConsumerBuilder {
    let options = ConsumerOptions::default().with_stream_checks(false);
    adapter(bridge).options(options.with_shutdown_grace(Duration::from_secs(1)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_without_permission_names_the_subject_at_once() {
    let guarded = Guarded::new(PUBLISHER).await;
    guarded.service.publish(published("a", 1)).await.unwrap();
    let elsewhere =
        UnitPublished::new("strat://legal/rule/a@1.0.0".parse().unwrap(), published("a", 1).fingerprint);
    let begun = Instant::now();
    let error = guarded.service.publish(elsewhere).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::PermissionDenied);
    assert!(!error.is_outcome_unknown());
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "this user may not publish to strat.legal.unit.published");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    guarded.service.publish(published("a", 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_lost_while_publishing_is_reported() {
    let guarded = Guarded::new(PUBLISHER).await;
    guarded.service.publish(published("a", 1)).await.unwrap();
    guarded.allow_only("strat.dev.>", "strat.core.>").await;
    let begun = Instant::now();
    let error = guarded.service.publish(published("a", 2)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::PermissionDenied, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_violation_fails_no_publish_after_a_change() {
    let server = NatsServer::start().await.unwrap();
    let watch = ConnectionWatch::new();
    let bridge =
        EventBridge::new(server.connect().await.unwrap(), source()).with_connection_watch(watch.clone());
    bridge.provision(&Topology::default()).await.unwrap();
    server.pause().unwrap();
    let publishing = tokio::spawn(async move { bridge.publish(published("a", 1)).await });
    // An earlier message to the same subject is refused only now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let late = "Permissions Violation for Publish to \"strat.dev.unit.published\"".to_owned();
    watch.observe(&async_nats::Event::ServerError(async_nats::ServerError::Other(late)));
    server.resume().unwrap();
    publishing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_without_the_right_to_its_answer_may_be_stored() {
    let guarded = Guarded::new(r#"publish: ["strat.dev.>"], subscribe: ["nothing"]"#).await;
    let error = guarded.service.publish(published("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::PermissionDenied);
    assert!(error.is_outcome_unknown());
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("subscribe to _INBOX."), "{cause}");
    assert!(guarded.admin.publish(published("a", 1)).await.unwrap().is_duplicate());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_watch_a_missing_permission_is_a_time_out() {
    let guarded = Guarded::new(r#"publish: ["nothing"]"#).await;
    let options = stratt_event_bridge::BridgeOptions::default().with_retry_budget(Duration::from_millis(500));
    let client = guarded.service.client().clone();
    let error =
        EventBridge::with_options(client, source(), options).publish(published("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::TimedOut);
}

/// The further permissions of a consumer that opens a bucket, checks the streams and creates its durable.
const CREATOR: &str = r#"
    "$JS.API.STREAM.INFO.CHOCO_STRATT", "$JS.API.STREAM.INFO.STRATT_DLQ",
    "$JS.API.CONSUMER.CREATE.CHOCO_STRATT.adapter",
    "$JS.API.STREAM.INFO.KV_STRATT_DEDUPE", "$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.>", "$KV.STRATT_DEDUPE.adapter.>","#;

async fn works(guarded: &Guarded, builder: ConsumerBuilder) {
    let running = Running::start(builder.build().await.unwrap());
    guarded.admin.publish(published("a", 1)).await.unwrap();
    guarded.admin.publish(published("poison", 2)).await.unwrap();
    guarded.all_answered().await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.rejected), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_works_with_the_documented_permissions() {
    let guarded = Guarded::with_durable(CONSUMER).await;
    works(&guarded, unchecked(&guarded.service)).await;

    let guarded = Guarded::new(&CONSUMER.replacen("publish: [", &format!("publish: [{CREATOR}"), 1)).await;
    let options = KvStoreOptions::default;
    KvStore::create(guarded.admin.client().clone(), options()).await.unwrap();
    let store = KvStore::open(guarded.service.client().clone(), options()).await.unwrap();
    works(&guarded, with_store(&guarded.service, Arc::new(store))).await;
}

async fn refused_in_time(builder: ConsumerBuilder) -> ConsumeError {
    let begun = Instant::now();
    let error = builder.build().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn building_names_the_missing_permission_and_the_way_out() {
    let guarded = Guarded::with_durable(CONSUMER).await;
    let error = refused_in_time(adapter(&guarded.service)).await;
    assert_eq!(error.kind(), ConsumeErrorKind::PermissionDenied);
    for said in ["publish to $JS.API.STREAM.INFO.CHOCO_STRATT", "`with_stream_checks(false)`"] {
        assert!(error.to_string().contains(said), "{error}");
    }
    // Without a watch the violation is not reported, but the server answers something else.
    let unwatched = EventBridge::new(connect(&guarded.server, "service", None).await, source());
    let error = refused_in_time(adapter(&unwatched)).await;
    assert_eq!(error.kind(), ConsumeErrorKind::Unavailable);
    for said in ["$JS.API.STREAM.INFO.CHOCO_STRATT", "`with_stream_checks(false)`"] {
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn building_without_permission_for_the_durable_says_so() {
    let guarded = Guarded::new(CONSUMER).await;
    let error = refused_in_time(unchecked(&guarded.service)).await;
    assert_eq!(error.kind(), ConsumeErrorKind::PermissionDenied);
    let create = "$JS.API.CONSUMER.CREATE.CHOCO_STRATT.adapter";
    assert!(error.to_string().contains(create), "{error}");
    let guarded = Guarded::new(r#"publish: ["nothing"]"#).await;
    let error = refused_in_time(unchecked(&guarded.service)).await;
    assert_eq!(error.kind(), ConsumeErrorKind::PermissionDenied);
    assert!(error.to_string().contains("$JS.API.CONSUMER.INFO.CHOCO_STRATT.adapter"), "{error}");
    let guarded = Guarded::new(r#"subscribe: ["nothing"]"#).await;
    let error = refused_in_time(unchecked(&guarded.service)).await;
    assert!(error.to_string().contains("subscribe to _INBOX."), "{error}");
}

/// Takes a permission from a running consumer.
async fn ends_without(old: &str, new: &str, says: &str) {
    let guarded = Guarded::with_durable(CONSUMER).await;
    let running = Running::start(unchecked(&guarded.service).build().await.unwrap());
    guarded.admin.publish(published("a", 1)).await.unwrap();
    guarded.all_answered().await;
    guarded.allow_only(old, new).await;
    let begun = Instant::now();
    // What is already requested still arrives, and then there is something to acknowledge and to request.
    guarded.admin.publish(published("a", 2)).await.unwrap();
    let error = running.failure().await;
    assert_eq!(error.kind(), ConsumeErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_may_not_ask_any_more_ends_and_says_so() {
    ends_without("MSG.NEXT", "MSG.NEXT_NOT", "publish to $JS.API.CONSUMER.MSG.NEXT.CHOCO_STRATT.adapter")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_never_might_ask_ends_at_once() {
    let guarded = Guarded::with_durable(&CONSUMER.replace("MSG.NEXT", "MSG.NOT")).await;
    let consumer = unchecked(&guarded.service).build().await.unwrap();
    let begun = Instant::now();
    let error = Running::start(consumer).failure().await;
    assert_eq!(error.kind(), ConsumeErrorKind::PermissionDenied);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_may_no_longer_acknowledge_ends() {
    ends_without("$JS.ACK.", "$JS.NACK.", "publish to $JS.ACK.CHOCO_STRATT.adapter.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_inbox_is_closed_ends_and_says_so() {
    ends_without("_INBOX.>", "_OTHER.>", "subscribe to _INBOX.").await;
}

/// A dead letter that the broker already has may be that of another event, whose stream had the same sequences.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_dead_letter_holds_nothing_up() {
    for is_watched in [true, false] {
        let guarded = Guarded::with_durable(CONSUMER).await;
        let unwatched = EventBridge::new(connect(&guarded.server, "service", None).await, source());
        let service = if is_watched { &guarded.service } else { &unwatched };
        let running = Running::start(unchecked(service).build().await.unwrap());
        let context = jetstream::new(guarded.admin.client().clone());
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "CHOCO_STRATT:1:adapter");
        let subject = "stratt.dlq.adapter.dev.unit.published";
        let known = context.publish_with_headers(subject, headers, "of an older stream".into()).await;
        known.unwrap().await.unwrap();
        guarded.admin.publish(published("poison", 1)).await.unwrap();
        guarded.all_answered().await;
        let summary = running.stop().await;
        assert_eq!((summary.rejected, summary.postponed), (1, 0), "{summary:?}");
        let letters = context.get_stream(DEAD_LETTER_STREAM).await.unwrap();
        assert_eq!(letters.cached_info().state.messages, 2);
        let second = letters.get_raw_message(2).await.unwrap();
        assert!(String::from_utf8_lossy(&second.payload).contains("poison"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_without_permission_is_told_and_kept() {
    let guarded = Guarded::with_durable(&CONSUMER.replace("stratt.dlq", "stratt.not")).await;
    let running = Running::start(unchecked(&guarded.service).build().await.unwrap());
    guarded.admin.publish(published("poison", 1)).await.unwrap();
    let context = jetstream::new(guarded.admin.client().clone());
    let stream = context.get_stream(Feed::Choco.stream()).await.unwrap();
    // Refused during the first delivery, which would last for 15 s otherwise.
    let begun = Instant::now();
    let deliveries = || async { stream.consumer_info("adapter").await.unwrap().delivered.consumer_sequence };
    eventually("deliveries", deliveries, |deliveries| *deliveries >= 2).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    guarded.allow_only("stratt.not", "stratt.dlq").await;
    guarded.all_answered().await;
    let summary = running.stop().await;
    assert_eq!(summary.rejected, 1);
    assert!(summary.postponed >= 1, "{summary:?}");
}
