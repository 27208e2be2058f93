//! The golden files are the contract for every language: this crate must write and read just these bytes.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fs;
use stratt_event_bridge::{Envelope, EventType, Feed};

fn golden(name: &str) -> String {
    let path = support::root().join("tests/golden").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    event_type: String,
    identity_uri: String,
    fingerprint: String,
    idempotency_key: String,
}

#[derive(Deserialize)]
struct Invalid {
    name: String,
    kind: String,
    subject: String,
    envelope: String,
}

#[test]
fn every_golden_envelope_round_trips_byte_for_byte() {
    for event_type in EventType::ALL {
        let text = golden(&format!("{event_type}.json"));
        let bytes = text.trim_end().as_bytes();
        let envelope: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let domain = envelope["domain"].as_str().unwrap().parse().unwrap();
        for feed in [Feed::Strat, Feed::Choco] {
            let read =
                Envelope::<stratt_event_bridge::AnyEvent>::decode(&feed.subject(&domain, *event_type), bytes);
            let read = read.unwrap_or_else(|error| panic!("{event_type}: {error:?}"));
            assert_eq!(read.event_type(), *event_type);
            assert_eq!(String::from_utf8(read.encode().unwrap()).unwrap(), text.trim_end());
        }
    }
}

#[test]
fn keys_are_the_hash_of_the_three_lines() {
    let vectors: Vec<Vector> = serde_json::from_str(&golden("idempotency.json")).unwrap();
    assert!(vectors.len() >= 14);
    for Vector { event_type, identity_uri, fingerprint, idempotency_key } in &vectors {
        let lines = format!("{event_type}\n{identity_uri}\n{fingerprint}");
        assert_eq!(hex::encode(Sha256::digest(lines)), *idempotency_key, "{identity_uri}");
    }
    for event_type in EventType::ALL {
        let text = golden(&format!("{event_type}.json"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let domain = value["domain"].as_str().unwrap().parse().unwrap();
        let subject = Feed::Strat.subject(&domain, *event_type);
        let envelope: Envelope = Envelope::decode(&subject, text.trim_end().as_bytes()).unwrap();
        let identity = stratt_event_bridge::Event::identity(envelope.event()).to_string();
        let vector =
            vectors.iter().find(|v| v.event_type == event_type.as_str() && v.identity_uri == identity);
        let vector = vector.unwrap_or_else(|| panic!("no vector for {identity}"));
        assert_eq!(envelope.idempotency_key().to_string(), vector.idempotency_key);
    }
}

#[test]
fn every_invalid_envelope_is_refused_for_the_stated_reason() {
    let invalid: Vec<Invalid> = serde_json::from_str(&golden("invalid.json")).unwrap();
    assert!(invalid.len() > 40);
    for Invalid { name, kind, subject, envelope } in invalid {
        match Envelope::<stratt_event_bridge::AnyEvent>::decode(&subject, envelope.as_bytes()) {
            Ok(_) => panic!("{name}: was accepted"),
            Err(error) => assert_eq!(format!("{:?}", error.kind()), kind, "{name}: {error:?}"),
        }
    }
}
