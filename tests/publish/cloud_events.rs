//! Events that are CloudEvents as well, if the options say so: however they are published, and with nothing else
//! changed.

use async_nats::jetstream::message::StreamMessage;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};
use std::fs;
use stratt_event_bridge::{
    AnyEvent, BridgeOptions, Delivery, Envelope, EventBridge, EventType, Feed, HandlerError, Source,
    async_nats,
    outbox::OutboxOptions,
    schema,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Topology},
};
use support::{Outbox, Peer, Running, Stage, eventually, published, source};

fn golden(name: &str) -> String {
    let path = support::root().join("tests/golden").join(name);
    fs::read_to_string(&path).unwrap().trim_end().to_owned()
}

/// Returns the headers of the golden events, by type.
fn golden_headers() -> Map<String, Value> {
    serde_json::from_str(&golden("cloud_events.json")).unwrap()
}

/// Returns the golden events with their bytes.
fn golden_events() -> Vec<(Envelope, String)> {
    let of = |event_type: &EventType| {
        let text = golden(&format!("{event_type}.json"));
        let subject = Feed::Strat.subject(&"dev".parse().unwrap(), *event_type);
        let domain = serde_json::from_str::<Value>(&text).unwrap()["domain"].as_str().unwrap().to_owned();
        let subject = subject.replace(".dev.", &format!(".{domain}."));
        (Envelope::decode(&subject, text.as_bytes()).unwrap(), text)
    };
    EventType::ALL.iter().map(of).collect()
}

async fn stage() -> (Stage, EventBridge) {
    let stage = Stage::new().await;
    stage.bridge.provision(&Topology::default().with_batches(true)).await.unwrap();
    let options = BridgeOptions::default().with_cloud_events(true);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    (stage, bridge)
}

async fn messages(stage: &Stage, stream: &str, count: u64) -> Vec<StreamMessage> {
    let stream = stage.context().get_stream(stream).await.unwrap();
    let last = || async { stream.get_info().await.unwrap().state.last_sequence };
    eventually("stored", last, |last| *last == count).await;
    stream::iter(1..=count).then(|sequence| stream.get_raw_message(sequence)).try_collect().await.unwrap()
}

/// Returns the headers without those of a batch.
fn headers(message: &StreamMessage) -> Value {
    let one = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        assert_eq!(values.len(), 1, "{name}");
        (name.to_string(), Value::from(values[0].as_str()))
    };
    let headers = message.headers.iter().filter(|(name, _)| !name.to_string().starts_with("Nats-Batch-"));
    Value::Object(headers.map(one).collect())
}

/// Checks that the golden events are stored with these headers and bytes.
fn are_golden(messages: &[StreamMessage], path: &str) {
    let events = golden_events();
    assert_eq!(messages.len(), events.len(), "{path}");
    let wanted = golden_headers();
    for message in messages {
        let envelope: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
        let event_type = envelope.event_type().as_str();
        assert_eq!(headers(message), wanted[event_type], "{path}: {event_type}");
        let (_, bytes) = events.iter().find(|(golden, _)| *golden == envelope).unwrap();
        assert_eq!(message.payload, bytes.as_bytes(), "{path}: {event_type}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_publishing_writes_the_same_cloud_event() {
    support::needs!(Postgres);
    let (stage, bridge) = stage().await;
    for (envelope, _) in golden_events() {
        assert!(!bridge.publish_envelope(&envelope).await.unwrap().is_duplicate());
    }
    are_golden(&messages(&stage, EVENT_STREAM, 7).await, "publish_envelope");

    let (stage, bridge) = self::stage().await;
    let envelopes: Vec<_> = golden_events().into_iter().map(|(envelope, _)| envelope).collect();
    let receipts: Vec<_> = bridge.publish_all(stream::iter(envelopes.clone())).try_collect().await.unwrap();
    assert_eq!(receipts.len(), 7);
    are_golden(&messages(&stage, EVENT_STREAM, 7).await, "publish_all");

    if stage.client.is_server_compatible(2, 12, 0) {
        let (stage, bridge) = self::stage().await;
        assert_eq!(bridge.publish_batch(&envelopes).await.unwrap().len(), 7);
        are_golden(&messages(&stage, EVENT_STREAM, 7).await, "publish_batch");
    }

    for outbox in Outbox::both(OutboxOptions::default()).await {
        let (stage, bridge) = self::stage().await;
        outbox.enqueue(&envelopes, true).await;
        let relay = outbox.relay(&bridge);
        are_golden(&messages(&stage, EVENT_STREAM, 7).await, "relay");
        assert_eq!(relay.stop().await.published, 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_event_has_them_and_without_being_asked_none_has() {
    let (stage, bridge) = stage().await;
    bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(published("a", 2)).await.unwrap();
    let [with, without] = &messages(&stage, EVENT_STREAM, 2).await[..] else { panic!("two are stored") };
    let envelope: Value = serde_json::from_slice(&with.payload).unwrap();
    let with = headers(with);
    for (header, field) in
        [("ce-id", "eventId"), ("ce-source", "source"), ("ce-type", "eventType"), ("ce-time", "timestamp")]
    {
        assert_eq!(with[header], envelope[field], "{header}");
    }
    assert_eq!(with["ce-subject"], "strat://dev/rule/a@1.0.0");
    let without = headers(without);
    let names: Vec<_> = without.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["Content-Type", "Nats-Msg-Id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_takes_both_forms_for_one_event() {
    let (stage, bridge) = stage().await;
    for (first, second, number) in [(&stage.bridge, &bridge, 1), (&bridge, &stage.bridge, 2)] {
        let event = published("a", number);
        let stored = first.publish(event.clone()).await.unwrap();
        let again = second.publish(event).await.unwrap();
        assert!(!stored.is_duplicate() && again.is_duplicate());
        assert_eq!(stored.sequence(), again.sequence());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_stay_through_forwarding_dead_letter_and_redrive() {
    let (stage, bridge) = stage().await;
    let strict =
        stage.consumer("strict").on(|_: Delivery<AnyEvent>| async { Err(HandlerError::reject("no")) });
    let running = Running::start(strict.build().await.unwrap());
    let (envelope, _) = golden_events().swap_remove(0);
    bridge.publish_envelope(&envelope).await.unwrap();
    let wanted = golden_headers()["unit.published"].clone();
    let are_kept = |message: &StreamMessage, what: &str| {
        let found = headers(message);
        for (name, value) in wanted.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("ce-")) {
            assert_eq!(found[name], *value, "{what}: {name}");
        }
    };
    are_kept(&messages(&stage, CHOCO_STREAM, 1).await[0], "forwarded");
    let letters = stage.dead_letters_are(1).await;
    are_kept(&messages(&stage, DEAD_LETTER_STREAM, 1).await[0], "dead-lettered");
    // Does not wait for its second dead letter; by a bridge that does not write CloudEvents.
    running.stop().await;
    stage.bridge.dead_letters().redrive(letters[0].sequence()).await.unwrap();
    are_kept(&messages(&stage, EVENT_STREAM, 2).await[1], "redriven");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_cloud_events_quarantines_what_is_no_envelope() {
    support::needs!(Postgres);
    let (stage, bridge) = stage().await;
    let outbox = Outbox::both(OutboxOptions::default()).await;
    for (number, outbox) in (0..).zip(&outbox) {
        let at = |slug: &str, fingerprint| {
            Envelope::builder(published(slug, fingerprint), source()).build().unwrap()
        };
        outbox.enqueue(&[at("a", 10 * number + 1), at("b", 10 * number + 2)], true).await;
        outbox.run("UPDATE stratt_outbox SET payload = substr(payload, 2) WHERE uri LIKE '%/a@%'").await;
        let relay = outbox.relay(&bridge);
        let settled = |status: &stratt_event_bridge::outbox::OutboxStatus| status.pending == 0;
        assert_eq!(eventually("status", || outbox.status(), settled).await.quarantined, 1);
        assert_eq!(relay.stop().await.published, 1);
        let told =
            "SELECT count(*) FROM stratt_outbox WHERE state = 2 AND error LIKE '%not a valid envelope%'";
        assert_eq!(outbox.count(told).await, 1, "{outbox:?}");
    }
    assert_eq!(messages(&stage, EVENT_STREAM, 2).await.len(), 2);
}

/// Includes sources that are no URI as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_package_and_the_schema_read_them() {
    let (stage, bridge) = stage().await;
    let mut envelopes: Vec<_> = golden_events().into_iter().map(|(envelope, _)| envelope).collect();
    for (number, service) in (1..).zip(["9lives", "my_service", ".x"]) {
        let source: Source = format!("{service}:publisher:1.0.0+build").parse().unwrap();
        let event = AnyEvent::from(published("odd", number));
        envelopes.push(Envelope::builder(event, source).build().unwrap());
    }
    for envelope in &envelopes {
        bridge.publish_envelope(envelope).await.unwrap();
    }
    let stored = messages(&stage, EVENT_STREAM, envelopes.len() as u64).await;
    let schema = &schema::asyncapi()["components"]["messageTraits"]["event"]["headers"];
    let schema = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
    let text = |message: &StreamMessage| String::from_utf8(message.payload.to_vec()).unwrap();
    for message in &stored {
        schema.validate(&headers(message)).unwrap_or_else(|error| panic!("{error}: {:?}", headers(message)));
    }
    let raw: Vec<_> = stored.iter().map(|it| json!({ "headers": headers(it), "body": text(it) })).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), Value::from(raw).to_string()).unwrap();
    let read = Peer::python().cloud_events(file.path()).await;
    assert_eq!(read.len(), stored.len());
    for ((read, message), envelope) in read.iter().zip(&stored).zip(&envelopes) {
        let written: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(read["data"], written);
        let source = envelope.source().as_str();
        let source = if source.starts_with("orchestrator") { source.into() } else { format!("./{source}") };
        let attributes = json!({
            "specversion": "1.0",
            "id": envelope.event_id(),
            "source": source,
            "type": envelope.event_type(),
            "time": written["timestamp"].as_str().unwrap().replace('Z', "+00:00"),
            "subject": stratt_event_bridge::Event::unit_uri(envelope.event()),
            "datacontenttype": "application/json",
        });
        assert_eq!(read["attributes"], attributes);
    }
}

/// The binding asks for percent-encoding of characters that a header must not have. No value can have any of them.
#[test]
fn no_value_needs_encoding() {
    let must_be_encoded = |c: &char| !('!'..='~').contains(c) || matches!(c, '"' | '%');
    for c in
        (0..=0x2FF).filter_map(char::from_u32).chain(['\u{2028}', '\u{FFFD}', '🐍']).filter(must_be_encoded)
    {
        for part in 0..3 {
            let mut parts = ["a", "b", "1"].map(str::to_owned);
            parts[part].push(c);
            assert!(parts.join(":").parse::<Source>().is_err(), "{c:?}");
        }
        for uri in [
            "strat://d{}/r/s@1.0.0",
            "strat://d/r{}/s@1.0.0",
            "strat://d/r/s{}@1.0.0",
            "strat://d/r/s@1.0.0-r{}",
        ] {
            let uri = uri.replace("{}", &c.to_string());
            assert!(uri.parse::<stratt_event_bridge::UnitUri>().is_err(), "{uri:?}");
        }
    }
}
