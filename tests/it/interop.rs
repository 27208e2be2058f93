//! Programs in Python and JavaScript, made from the contract alone, on the same broker.

use crate::support::{Peer, Running, Stage, eventually, one_of_each, published};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};
use stratt_event_bridge::{
    AnyEvent, Delivery, Envelope, Event, EventType, Feed, Occurrence,
    dead_letter::DeadLetterReason,
    schema,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[tokio::test]
async fn other_languages_hash_the_golden_keys() {
    let golden = "tests/golden/idempotency.json";
    let vectors: Vec<Value> = serde_json::from_str(&read(golden)).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
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
        // Where a regular expression says the end, some languages let a line feed follow.
        for text in [String::new(), format!("{}\n", text.as_str().unwrap())] {
            let mut damaged = golden.clone();
            *damaged.pointer_mut(&format!("{at}/{name}")).unwrap() = text.into();
            values.push(damaged);
        }
    }
    let schema = schema::envelope().to_value();
    // Without formats: what they assert is for each validator to decide.
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
async fn other_languages_publish_consume_and_dead_letter() {
    let stage = Stage::new().await;
    let url = stage.server.url();
    let peers = [Peer::python(), Peer::node()];

    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let consumer = stage.consumer("rust").on(move |delivery: Delivery<AnyEvent>| {
        seen.lock().unwrap().push(delivery.envelope().clone());
        async { Ok(()) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    for peer in &peers {
        assert_eq!(peer.run(url, &["publish"]).await.len(), 2, "{}", peer.name());
    }
    eventually("handled", || async { handled.lock().unwrap().len() }, |handled| *handled == 2).await;
    let letters = stage.dead_letters_are(2).await;
    for (letter, forged) in letters.iter().zip(["forged-by-python", "forged-by-javascript"]) {
        assert_eq!(
            (letter.reason(), letter.subject()),
            (Some(DeadLetterReason::Invalid), "strat.dev.unit.published")
        );
        assert!(String::from_utf8_lossy(letter.payload()).contains(forged));
        assert!(letter.error().contains("idempotency key is not the key"), "{}", letter.error());
    }
    running.stop().await;
    let from_peers = std::mem::take(&mut *handled.lock().unwrap());
    peers_were_understood(&from_peers);

    let mut ours = one_of_each();
    ours.push(published("a", 1).with_occurrence(Occurrence::try_from(2).unwrap()).into());
    for event in &ours {
        stage.bridge.publish(event.clone()).await.unwrap();
    }
    // What was stored twice, beyond the duplicate window, say.
    store_again(&stage, &ours[0]).await;
    let in_stream = from_peers.len() + 2 + ours.len() + 1;
    let forwarded = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", forwarded, |messages| *messages == in_stream as u64).await;

    let handled_key =
        |key: String, event_type: &str| json!({ "outcome": "handled", "eventType": event_type, "key": key });
    let of = |event: &AnyEvent| handled_key(event.idempotency_key().to_string(), event.event_type().as_str());
    let mut wanted = Vec::new();
    for envelope in &from_peers {
        wanted.push(of(envelope.event()));
        wanted.push(json!({ "outcome": "invalid", "error": "key mismatch" }));
    }
    wanted.extend(ours.iter().map(of));
    let mut repeated = of(&ours[0]);
    repeated["outcome"] = "repeated".into();
    wanted.push(repeated);
    for peer in &peers {
        let durable = format!("{}-peer", peer.name());
        let reported = peer.run(url, &["consume", &durable, &in_stream.to_string()]).await;
        assert_eq!(reported, wanted, "{}", peer.name());
        stage.all_answered(Feed::Choco, &durable).await;
    }

    let letters = stage.dead_letters_are(6).await;
    for durable in ["python-peer", "javascript-peer"] {
        let theirs: Vec<_> = letters.iter().filter(|letter| letter.consumer() == durable).collect();
        assert_eq!(theirs.len(), 2, "{durable}");
        for letter in theirs {
            assert_eq!((letter.reason(), letter.error()), (Some(DeadLetterReason::Invalid), "key mismatch"));
        }
    }
    for stream in [EVENT_STREAM, CHOCO_STREAM] {
        assert_eq!(headers_are_as_written(&stage, stream, "event").await, in_stream as u64);
    }
    assert_eq!(headers_are_as_written(&stage, DEAD_LETTER_STREAM, "deadLetter").await, 6);
}

/// Whatever they added, left out or ordered in their own way, it is the event they meant.
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

async fn store_again(stage: &Stage, event: &AnyEvent) {
    let envelope = Envelope::builder(event.clone(), crate::support::source()).build().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, format!("{}:redrive:1", envelope.idempotency_key()));
    let payload = envelope.encode().unwrap().into();
    stage.context().publish_with_headers(envelope.subject(), headers, payload).await.unwrap().await.unwrap();
}

/// The headers of every message of a stream are those of the AsyncAPI document; how many messages there are.
async fn headers_are_as_written(stage: &Stage, stream: &str, message_trait: &str) -> u64 {
    let document = schema::asyncapi();
    let headers = &document["components"]["messageTraits"][message_trait]["headers"];
    let headers = jsonschema::options().should_validate_formats(true).build(headers).unwrap();
    let stream = stage.context().get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let found: serde_json::Map<_, _> = message
            .headers
            .iter()
            .map(|(name, values)| (name.to_string(), Value::from(values[0].as_str())))
            .collect();
        let found = Value::from(found);
        headers.validate(&found).unwrap_or_else(|error| panic!("{}: {error}: {found}", message.subject));
    }
    state.messages
}
