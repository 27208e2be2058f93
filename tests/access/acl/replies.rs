//! The ways in which a user can make the server act in its place: acks of another form, and the subjects for answers.

use super::{
    guarded::{Guarded, User, server},
    roles::with_durable,
};
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    Feed,
    acl::{Inbox, ReaderRole},
    async_nats::jetstream::{self, consumer::pull, stream},
    testing::NatsServerBuilder,
};
use support::{NEWEST, eventually, published};
use tokio::time::timeout;

async fn stage(server: NatsServerBuilder, change: impl Fn(String) -> String) -> (Guarded, User) {
    let role = ReaderRole::new("reader".parse().unwrap()).permissions(&Inbox::of_user("reader").unwrap());
    let guarded = Guarded::on(server, &[("reader", change(role.to_string()))]).await;
    with_durable(guarded.admin.clone()).await;
    let config = pull::Config { durable_name: Some("audit".into()), ..pull::Config::default() };
    let context = jetstream::new(guarded.admin.client().clone());
    context.create_consumer_on_stream(config, Feed::Strat.stream()).await.unwrap();
    guarded.admin.publish(published("secret", 1)).await.unwrap();
    let reader = guarded.user("reader").await;
    (guarded, reader)
}

/// An ack of `audit` in the short form, which a pattern for the long form of `reader` matches if it ends with `>`.
const DISGUISED: &str = "$JS.ACK.STRATT_EVENTS.audit.CHOCO_STRATT.reader.1.1.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_ack_permissions_allow_no_pull_from_other_durables() {
    let open_ended = "\"$JS.ACK.*.*.CHOCO_STRATT.reader.>\"";
    let (_guarded, reader) =
        stage(server(""), |role| role.replace("\"$JS.ACK.*.*.CHOCO_STRATT.reader.*.*.*.*.*\"", open_ended))
            .await;
    let client = reader.bridge.client();
    let inbox = client.new_inbox();
    let mut stolen = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(DISGUISED, inbox, "+NXT".into()).await.unwrap();
    let message = timeout(Duration::from_secs(20), stolen.next()).await.unwrap().unwrap();
    assert_eq!(message.subject.as_str(), "strat.dev.unit.published");
    assert!(String::from_utf8_lossy(&message.payload).contains("secret"));

    let (_guarded, reader) = stage(server(""), |role| role).await;
    let client = reader.bridge.client();
    client.publish_with_reply(DISGUISED, client.new_inbox(), "+NXT".into()).await.unwrap();
    timeout(Duration::from_secs(20), reader.refusals.until(DISGUISED)).await.expect("it is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_sent_elsewhere_acknowledges_nothing() {
    // Older servers store what the reader had sent elsewhere, as an unchanged copy under its own subject.
    let newest = server("").version(NEWEST);
    let (guarded, reader) = stage(newest, |role| role).await;
    let context = jetstream::new(guarded.admin.client().clone());
    let durable: jetstream::consumer::PullConsumer =
        context.get_consumer_from_stream("audit", Feed::Strat.stream()).await.unwrap();
    let mut pulled = durable.fetch().max_messages(1).messages().await.unwrap();
    let ack = pulled.next().await.unwrap().unwrap().message.reply.unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.CHOCO_STRATT.reader";
    let client = reader.bridge.client();
    client.publish_with_reply(next, ack, r#"{"batch":1,"no_wait":true}"#.into()).await.unwrap();
    timeout(Duration::from_secs(20), reader.refusals.until("Reply")).await.expect("it is refused");
    let mut durable = durable;
    assert_eq!(durable.info().await.unwrap().num_ack_pending, 1);

    // An event without a message id, so that the broker does not know it yet.
    context.publish("strat.dev.unit.published", "{}".into()).await.unwrap().await.unwrap();
    client.publish_with_reply(next, "strat.dev.unit.published", r#"{"batch":2}"#.into()).await.unwrap();
    let reader = || async {
        let stream = context.get_stream(Feed::Choco.stream()).await.unwrap();
        stream.consumer_info("reader").await.unwrap().num_ack_pending
    };
    eventually("delivered", reader, |pending| *pending == 2).await;
    // The stream refuses a message that says where it was sourced. One that was not sourced is stored, as a copy of the
    // event.
    let next = "$JS.API.CONSUMER.MSG.NEXT.STRATT_EVENTS.audit";
    let admin = guarded.admin.client();
    admin.publish_with_reply(next, "strat.dev.unit.published", "".into()).await.unwrap();
    let events = || async { context.get_stream(Feed::Strat.stream()).await.unwrap() };
    let more = |stream: &stream::Stream| stream.cached_info().state.last_sequence > 2;
    let stream = eventually("copy", events, more).await;
    let copy = stream.get_raw_message(3).await.unwrap();
    assert_eq!((copy.subject.as_str(), &copy.payload[..]), ("strat.dev.unit.published", b"{}".as_slice()));
    assert!(copy.headers.get("Nats-Stream-Source").is_none());
    assert_eq!(guarded.admin.publish(published("b", 2)).await.unwrap().sequence(), 4);
}
