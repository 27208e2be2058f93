//! Programs in Python and JavaScript, made from the contract alone, on the same broker.

use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs,
    sync::{Arc, Mutex},
};
use stratt_event_bridge::async_nats::{
    HeaderMap, header::NATS_MESSAGE_ID, jetstream::message::StreamMessage,
};
use stratt_event_bridge::{
    AnyEvent, Delivery, Envelope, EventType, Feed, Occurrence,
    dead_letter::DeadLetterReason,
    schema,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};
use support::{Peer, Running, Stage, eventually, one_of_each, published, source};

fn read(path: &str) -> String {
    fs::read_to_string(support::root().join(path)).unwrap()
}

#[tokio::test]
async fn other_languages_hash_the_golden_keys() {
    support::needs!(Node);
    let golden = "tests/golden/idempotency.json";
    let vectors: Vec<Value> = serde_json::from_str(&read(golden)).unwrap();
    let path = support::root().join(golden);
    for peer in [Peer::python(), Peer::node()] {
        let hashed = peer.run("", &["keys", path.to_str().unwrap()]).await;
        assert_eq!(hashed.len(), vectors.len(), "{}", peer.name());
        for (hashed, vector) in hashed.iter().zip(&vectors) {
            assert_eq!(hashed["key"], vector["idempotencyKey"], "{}: {hashed}", peer.name());
            assert_eq!(hashed["agrees"], true, "{}: {hashed}", peer.name());
        }
    }
}

#[test]
fn the_snippets_of_the_docs_are_those_that_run() {
    let docs = read("src/docs/wire.md");
    for (language, file) in [("python", "python/idempotency.py"), ("js", "node/idempotency.js")] {
        let snippet = format!("```{language}\n{}```", read(&format!("tests/interop/{file}")));
        assert!(docs.contains(&snippet), "src/docs/wire.md does not hold tests/interop/{file} as it is");
    }
}

#[tokio::test]
async fn validators_of_other_languages_see_the_schema_as_ours_does() {
    support::needs!(Node);
    let mut values: Vec<Value> = EventType::ALL
        .iter()
        .map(|event_type| serde_json::from_str(&read(&format!("tests/golden/{event_type}.json"))).unwrap())
        .collect();
    let invalid: Vec<Value> = serde_json::from_str(&read("tests/golden/invalid.json")).unwrap();
    values.extend(invalid.iter().filter_map(|it| serde_json::from_str(it["envelope"].as_str()?).ok()));
    let golden = values[0].clone();
    let texts = |at: &str| golden.pointer(at).unwrap().as_object().unwrap().clone().into_iter();
    let texts = texts("").map(|it| ("", it)).chain(texts("/payload").map(|it| ("/payload", it)));
    for (at, (name, text)) in texts.filter(|(_, (_, value))| value.is_string()) {
        // In some languages, the end in a regular expression allows a line feed.
        for text in [String::new(), format!("{}\n", text.as_str().unwrap())] {
            let mut damaged = golden.clone();
            *damaged.pointer_mut(&format!("{at}/{name}")).unwrap() = text.into();
            values.push(damaged);
        }
    }
    let schema = schema::envelope().to_value();
    // Without formats: each validator decides what they assert.
    let ours = jsonschema::validator_for(&schema).unwrap();
    let wanted: Vec<_> = values.iter().map(|value| Value::from(ours.is_valid(value))).collect();
    assert!(wanted.iter().filter(|valid| **valid == false).count() > 50);
    let folder = tempfile::tempdir().unwrap();
    let [schema_file, values_file] = ["schema", "values"].map(|name| folder.path().join(name));
    fs::write(&schema_file, schema.to_string()).unwrap();
    fs::write(&values_file, Value::from(values.clone()).to_string()).unwrap();
    for peer in [Peer::python(), Peer::node()] {
        let found = peer.validate(&schema_file, &values_file).await;
        assert_eq!(found.len(), values.len());
        for ((found, wanted), value) in found.iter().zip(&wanted).zip(&values) {
            assert_eq!(found, wanted, "{}: {value}", peer.name());
        }
    }
}

/// The official schema comes with the packages of the JavaScript peer.
#[test]
fn the_asyncapi_document_is_valid_to_the_official_schema() {
    support::needs!(Node);
    let official = Peer::node_packages().join("@asyncapi/specs/schemas/3.1.0.json");
    let official: Value = serde_json::from_slice(&fs::read(official).unwrap()).unwrap();
    let official = jsonschema::validator_for(&official).unwrap();
    let document = schema::asyncapi();
    let errors: Vec<_> = official.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let mut wrong = document;
    wrong["operations"]["publishEvent"]["action"] = "shout".into();
    assert!(!official.is_valid(&wrong), "the official schema accepts anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_languages_publish_is_handled_or_dead_lettered() {
    support::needs!(Node);
    let stage = Stage::new().await;
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let consumer = stage.consumer("rust").on(move |delivery: Delivery<AnyEvent>| {
        seen.lock().unwrap().push(delivery.envelope().clone());
        async { Ok(()) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    for peer in [Peer::python(), Peer::node()] {
        assert_eq!(peer.run(stage.server.url(), &["publish"]).await.len(), 2, "{}", peer.name());
    }
    eventually("handled", || async { handled.lock().unwrap().len() }, |handled| *handled == 2).await;
    let letters = stage.dead_letters_are(2).await;
    for (letter, forged) in letters.iter().zip(["forged-by-python", "forged-by-javascript"]) {
        assert_eq!(letter.reason(), Some(DeadLetterReason::Invalid));
        assert!(String::from_utf8_lossy(letter.payload()).contains(forged));
        assert!(letter.error().contains("idempotency key does not match"), "{}", letter.error());
    }
    running.stop().await;
    peers_were_understood(&handled.lock().unwrap());
}

/// Whatever they add, leave out or order differently, the event is the one that they meant.
fn peers_were_understood(envelopes: &[Envelope]) {
    let of_peer: Vec<_> = envelopes
        .iter()
        .map(|envelope| {
            let AnyEvent::UnitPublished(event) = envelope.event() else { panic!("{envelope:?}") };
            let occurrence = event.occurrence.map_or(1, Occurrence::get);
            let written_by: String = envelope.meta().get("writtenBy").unwrap().unwrap();
            (
                event.uri.slug(),
                event.actor.as_deref().unwrap(),
                occurrence,
                written_by,
                envelope.event_version().minor(),
            )
        })
        .collect();
    let wanted = [
        ("from-python", "user:Zoë 🐍", 1, "json.dumps".to_owned(), 1),
        ("from-javascript", "user:Zoë \u{1F9EA}\u{2028}", 2, "JSON.stringify".to_owned(), 0),
    ];
    assert_eq!(of_peer, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_languages_handle_repeat_and_dead_letter_what_we_would() {
    support::needs!(Node);
    let stage = Stage::new().await;
    let peers = [Peer::python(), Peer::node()];
    for peer in &peers {
        peer.run(stage.server.url(), &["publish"]).await;
    }
    let again = published("a", 1).with_occurrence(Occurrence::try_from(2).unwrap());
    for event in one_of_each().into_iter().chain([again.clone().into()]) {
        stage.bridge.publish(event).await.unwrap();
    }
    let envelope = Envelope::builder(again, source()).build().unwrap();
    // As by a redrive, or a publisher after the duplicate window.
    let id = format!("{}:redrive:1", envelope.idempotency_key());
    store(&stage, &envelope.subject(), &id, &envelope.encode().unwrap()).await;
    store(&stage, "strat.UPPER.unit.exploded", &"0a".repeat(32), b"not\r\njson").await;
    store(&stage, "strat.dev.unit.published", &"0b".repeat(32), b"null").await;

    let stored = messages(&stage, EVENT_STREAM).await;
    let forwarded = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", forwarded, |forwarded| *forwarded == stored.len() as u64).await;
    let (wanted, invalid) = as_we_see_it(&stored);
    for peer in &peers {
        let durable = format!("{}-peer", peer.name());
        let arguments = ["consume", durable.as_str(), &stored.len().to_string()];
        let mut reported = peer.run(stage.server.url(), &arguments).await;
        for report in &mut reported {
            report.as_object_mut().unwrap().remove("error");
        }
        assert_eq!(reported, wanted, "{}", peer.name());
        stage.all_answered(Feed::Choco, &durable).await;
    }

    let letters = messages(&stage, DEAD_LETTER_STREAM).await;
    let (of_python, of_javascript) = letters.split_at(invalid.len());
    for (durable, letters) in [("python-peer", of_python), ("javascript-peer", of_javascript)] {
        let found = letters.iter().map(|letter| (letter.subject.to_string(), &letter.payload));
        let wanted = invalid.iter().map(|message| {
            let address = if message.subject.contains("UPPER") { "_._" } else { "dev.unit.published" };
            (format!("stratt.dlq.{durable}.{address}"), &message.payload)
        });
        assert_eq!(found.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
    assert_eq!(stage.dead_letters().await.len(), letters.len());
    headers_are_as_written(&stored, "event");
    headers_are_as_written(&messages(&stage, CHOCO_STREAM).await, "event");
    headers_are_as_written(&letters, "deadLetter");

    for peer in &peers {
        let durable = format!("{}-peer", peer.name());
        let subject = format!("stratt.redrive.{durable}.dev.unit.published");
        let id = format!("{}:redrive:{durable}", envelope.idempotency_key());
        store(&stage, &subject, &id, &envelope.encode().unwrap()).await;
        let reported = peer.run(stage.server.url(), &["consume", &durable, "1"]).await;
        assert_eq!((reported.len(), &reported[0]["outcome"]), (1, &"handled".into()), "{reported:?}");
        for peer in &peers {
            stage.all_answered(Feed::Choco, &format!("{}-peer", peer.name())).await;
        }
    }
}

/// Returns the outcomes of these messages with our own reader, and the invalid ones.
fn as_we_see_it(stored: &[StreamMessage]) -> (Vec<Value>, Vec<&StreamMessage>) {
    let (mut keys, mut invalid, mut outcomes) = (HashSet::new(), Vec::new(), Vec::new());
    for message in stored {
        if let Ok(envelope) = Envelope::<AnyEvent>::decode(&message.subject, &message.payload) {
            let key = envelope.idempotency_key();
            let outcome = if keys.insert(key) { "handled" } else { "repeated" };
            outcomes.push(json!({ "outcome": outcome, "eventType": envelope.event_type(), "key": key }));
        } else {
            invalid.push(message);
            outcomes.push(json!({ "outcome": "invalid" }));
        }
    }
    assert_eq!((stored.len(), keys.len(), invalid.len()), (15, 10, 4), "one is repeated");
    (outcomes, invalid)
}

async fn store(stage: &Stage, subject: &str, message_id: &str, payload: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, message_id);
    let (context, payload) = (stage.context(), payload.to_vec().into());
    context.publish_with_headers(subject.to_owned(), headers, payload).await.unwrap().await.unwrap();
}

async fn messages(stage: &Stage, stream: &str) -> Vec<StreamMessage> {
    let stream = stage.context().get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    let sequences = futures::stream::iter(state.first_sequence..=state.last_sequence);
    sequences.then(|sequence| stream.get_raw_message(sequence)).try_collect().await.unwrap()
}

/// Checks that the headers of these messages are those of the AsyncAPI document.
fn headers_are_as_written(messages: &[StreamMessage], message_trait: &str) {
    let document = schema::asyncapi();
    let headers = &document["components"]["messageTraits"][message_trait]["headers"];
    let headers = jsonschema::options().should_validate_formats(true).build(headers).unwrap();
    for message in messages {
        let found = message.headers.iter();
        let found = found.map(|(name, values)| (name.to_string(), Value::from(values[0].as_str())));
        let found = Value::Object(found.collect());
        headers.validate(&found).unwrap_or_else(|error| panic!("{}: {error}: {found}", message.subject));
    }
}
