//! The reason why every user has an inbox of its own.

use super::guarded::{Guarded, connect};
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    Feed,
    acl::{Inbox, ReaderRole},
    async_nats::{ConnectOptions, jetstream},
    topology::Topology,
};
use support::published;
use tokio::time::timeout;

/// Returns the permissions of a reader of Choco with this inbox.
fn reader(inbox: &str) -> String {
    let permissions = ReaderRole::new("reader".parse().unwrap());
    permissions.permissions(&Inbox::of_user("reader").unwrap()).to_string().replace("_INBOX_reader.>", inbox)
}

async fn pulled(guarded: &Guarded, client: stratt_event_bridge::async_nats::Client) {
    guarded.admin.publish(published("secret", 1)).await.unwrap();
    let context = jetstream::new(client);
    let durable: jetstream::consumer::PullConsumer =
        context.get_consumer_from_stream("reader", Feed::Choco.stream()).await.unwrap();
    let batch = durable.batch().max_messages(1).expires(Duration::from_secs(20)).messages();
    let message = batch.await.unwrap().next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&message.payload).contains("secret"));
    message.ack().await.unwrap();
}

async fn with_durable(guarded: &Guarded) {
    guarded.admin.provision(&Topology::default()).await.unwrap();
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("reader".into()),
        ..jetstream::consumer::pull::Config::default()
    };
    let context = jetstream::new(guarded.admin.client().clone());
    context.create_consumer_on_stream(config, Feed::Choco.stream()).await.unwrap();
}

const SPY: &str = r#"{ publish: { deny: ">" }, subscribe: { allow: ["_INBOX.>"] } }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_of_its_own_keeps_others_from_reading_pulls() {
    let guarded = Guarded::new(&[("reader", reader("_INBOX.>")), ("spy", SPY.into())], "").await;
    with_durable(&guarded).await;
    let usual = |user: &str| ConnectOptions::with_user_and_password(user.into(), "pw".into());
    let spy = usual("spy").connect(guarded.server.url()).await.unwrap();
    let mut overheard = spy.subscribe("_INBOX.>").await.unwrap();
    spy.flush().await.unwrap();
    pulled(&guarded, usual("reader").connect(guarded.server.url()).await.unwrap()).await;
    let secret = async {
        loop {
            let message = overheard.next().await.unwrap();
            if String::from_utf8_lossy(&message.payload).contains("secret") {
                return message.subject.to_string();
            }
        }
    };
    timeout(Duration::from_secs(20), secret).await.expect("the spy hears what the reader pulls");

    let guarded = Guarded::new(&[("reader", reader("_INBOX_reader.>")), ("spy", SPY.into())], "").await;
    with_durable(&guarded).await;
    let spy = usual("spy").connect(guarded.server.url()).await.unwrap();
    let mut overheard = spy.subscribe("_INBOX.>").await.unwrap();
    spy.flush().await.unwrap();
    let reader = connect(guarded.server.url(), "reader").await;
    pulled(&guarded, reader.bridge.client().clone()).await;
    // A message that the spy overheard would have arrived before this one.
    guarded.admin.client().publish("_INBOX.end", "".into()).await.unwrap();
    let heard = timeout(Duration::from_secs(20), overheard.next()).await.unwrap().unwrap();
    assert_eq!(heard.subject.as_str(), "_INBOX.end");
    // Nor does a subscription to the reader's own inbox help.
    let spy = connect(guarded.server.url(), "spy").await;
    let _refused = spy.bridge.client().subscribe("_INBOX_reader.>").await.unwrap();
    timeout(Duration::from_secs(20), spy.refusals.until("Subscription to \"_INBOX_reader.>\""))
        .await
        .unwrap();
}
