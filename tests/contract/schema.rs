//! The contract for other languages: current, valid, and of one mind with the code.

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;
use std::{cell::Cell, collections::BTreeSet, fs, path::Path, process::Command};
use stratt_event_bridge::{
    AnyEvent, Domain, Envelope, EventType, Feed, Fingerprint, GateName, IdempotencyKey, Occurrence,
    ParseError, ResourceUri, Source, UnitUri,
    schema::{self, JsonSchema, schemars},
};
use support::{strattctl, validator, validator_of};

const REGENERATE: &str = "cargo run --features cli --bin strattctl -- contract tests/golden/schema";

fn golden(name: &str) -> String {
    let path = support::root().join("tests/golden").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden_json(name: &str) -> Value {
    serde_json::from_str(&golden(name)).unwrap()
}

#[test]
fn the_written_contract_is_current() {
    let payload = |event_type: &EventType| (event_type.to_string(), schema::payload(*event_type).to_value());
    let documents = EventType::ALL.iter().map(payload).chain([
        ("envelope".to_owned(), schema::envelope().to_value()),
        ("asyncapi".to_owned(), schema::asyncapi()),
    ]);
    for (name, document) in documents {
        let committed = golden_json(&format!("schema/{name}.json"));
        assert!(committed == document, "{name}.json is not current, run: {REGENERATE}");
    }
}

#[test]
fn the_command_writes_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new(strattctl()).arg("contract").arg(folder.path()).status().unwrap().success());
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    let committed = support::root().join("tests/golden/schema");
    assert_eq!(names(folder.path()), names(&committed), "run: {REGENERATE}");
    for name in names(&committed) {
        let [written, committed] = [folder.path(), &committed]
            .map(|folder| serde_json::from_slice::<Value>(&fs::read(folder.join(&name)).unwrap()).unwrap());
        assert!(written == committed, "{} is not current, run: {REGENERATE}", name.display());
    }
}

#[test]
fn every_schema_is_one() {
    let payloads = EventType::ALL.iter().map(|event_type| schema::payload(*event_type));
    for schema in payloads.chain([schema::envelope()]) {
        assert_eq!(schema.get("$schema").unwrap(), "https://json-schema.org/draft/2020-12/schema");
        jsonschema::meta::validate(schema.as_value()).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn whatever_the_asyncapi_document_refers_to_exists() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        found.extend(value.get("$ref").and_then(Value::as_str));
        match value {
            Value::Object(members) => members.values().for_each(|value| references(value, found)),
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = schema::asyncapi();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        match reference.strip_prefix('#') {
            Some(pointer) => assert!(document.pointer(pointer).is_some(), "{reference}"),
            None => assert!(golden_json(&format!("schema/{reference}")).is_object(), "{reference}"),
        }
    }
}

#[test]
fn golden_envelopes_are_accepted_by_their_own_type_alone() {
    let envelope = validator(schema::envelope().as_value());
    for event_type in EventType::ALL {
        let mut golden = golden_json(&format!("{event_type}.json"));
        envelope.validate(&golden).unwrap_or_else(|error| panic!("{event_type}: {error}"));
        for other in EventType::ALL {
            golden["eventType"] = other.as_str().into();
            let payload = serde_json::to_string(&golden["payload"]).unwrap();
            let readable = reads_payload(*other, &payload);
            assert_eq!(envelope.is_valid(&golden), readable, "{event_type} as {other}");
            let payload_alone = validator(schema::payload(*other).as_value());
            assert_eq!(payload_alone.is_valid(&golden["payload"]), readable, "{event_type} as {other}");
        }
    }
}

fn reads_payload(event_type: EventType, payload: &str) -> bool {
    use stratt_event_bridge as bridge;
    match event_type {
        EventType::UnitPublished => serde_json::from_str::<bridge::UnitPublished>(payload).is_ok(),
        EventType::UnitDeprecated => serde_json::from_str::<bridge::UnitDeprecated>(payload).is_ok(),
        EventType::UnitTampered => serde_json::from_str::<bridge::UnitTampered>(payload).is_ok(),
        EventType::UnitFingerprintVerified => {
            serde_json::from_str::<bridge::UnitFingerprintVerified>(payload).is_ok()
        }
        EventType::UnitImportResolved => serde_json::from_str::<bridge::UnitImportResolved>(payload).is_ok(),
        EventType::ChainGateFired => serde_json::from_str::<bridge::ChainGateFired>(payload).is_ok(),
        EventType::ChainGateResolved => serde_json::from_str::<bridge::ChainGateResolved>(payload).is_ok(),
        other => panic!("{other} is new"),
    }
}

#[test]
fn the_schema_refuses_all_invalid_envelopes_but_the_listed() {
    let schema = validator(schema::envelope().as_value());
    let beyond = golden_json("beyond_schema.json");
    let mut listed: Vec<_> =
        beyond.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let invalid = golden_json("invalid.json");
    let refused = |it: &&Value| {
        let envelope = serde_json::from_str::<Value>(it["envelope"].as_str().unwrap());
        envelope.is_ok_and(|envelope| !schema.is_valid(&envelope))
    };
    let (refused, others): (Vec<_>, Vec<_>) = invalid.as_array().unwrap().iter().partition(refused);
    assert!(refused.len() > 30);
    let mut others: Vec<_> = others.into_iter().map(|it| it["name"].as_str().unwrap()).collect();
    listed.sort_unstable();
    others.sort_unstable();
    assert_eq!(others, listed, "tests/golden/beyond_schema.json");
}

/// Replaces one member of a valid envelope by what `value` says, and asks schema and reader.
fn both_accept(schema: &Validator, pointer: &str, value: Value) -> (bool, bool) {
    let mut envelope = golden_json("unit.published.json");
    *envelope.pointer_mut(pointer).unwrap() = value;
    let subject = Feed::Strat.subject(&"dev".parse().unwrap(), EventType::UnitPublished);
    let read = Envelope::<AnyEvent>::decode(&subject, envelope.to_string().as_bytes());
    (schema.is_valid(&envelope), read.is_ok())
}

#[test]
fn schema_and_reader_accept_times_and_ids_of_others() {
    let schema = validator(schema::envelope().as_value());
    let accepted = [
        ("/timestamp", "2026-03-31T10:15:00.000Z"), // JavaScript, toISOString
        ("/timestamp", "2026-03-31T10:15:00.123456+00:00"), // Python, isoformat of an aware datetime
        ("/timestamp", "2026-03-31T10:15:00+00:00"), // the same without microseconds
        ("/timestamp", "2026-03-31T10:15:00.123456789Z"), // Go, RFC3339Nano
        ("/timestamp", "2026-03-31T12:15:00+02:00"),
        ("/timestamp", "2016-12-31T23:59:60Z"),
        ("/eventVersion", "1.0"),
        ("/eventVersion", "1.27"),
        ("/eventId", "019d42f0-7a60-7000-8000-000000000001"),
        ("/eventId", "3F2504E0-4F89-41D3-9A0C-0305E82C3301"),
    ];
    let refused = [
        ("/timestamp", "2026-03-31T10:15:00.123456"), // Python, isoformat of a naive datetime
        ("/timestamp", "2026-02-30T10:15:00Z"),
        ("/timestamp", "2026-03-31T24:00:00Z"),
        ("/timestamp", "2026-03-31"),
        ("/timestamp", "2026-03-31T10:15:00Z\n"),
        ("/timestamp", "1774952100"),
        ("/eventVersion", "2.0"),
        ("/eventVersion", "1.0\n"),
        ("/eventId", "019d42f0-7a60-7000-8000-00000000000"),
        ("/eventId", "019d42f0-7a60-7000-8000-000000000001\n"),
    ];
    for (cases, wanted) in [(&accepted[..], (true, true)), (&refused[..], (false, false))] {
        for (pointer, text) in cases {
            assert_eq!(both_accept(&schema, pointer, (*text).into()), wanted, "{pointer} {text:?}");
        }
    }
    // What no schema can say.
    for (pointer, value) in
        [("/eventVersion", "1.4294967296".into()), ("/timestamp", "9999-12-31T23:59:59-23:59".into())]
    {
        assert_eq!(both_accept(&schema, pointer, value), (true, false), "{pointer}");
    }
    // The reader is more lenient than what others are asked to write.
    for (pointer, text) in [
        ("/timestamp", "2026-03-31 10:15:00Z"),
        ("/timestamp", "2026-03-31t10:15:00z"),
        ("/eventId", "019d42f07a6070008000000000000001"),
    ] {
        assert_eq!(both_accept(&schema, pointer, text.into()), (false, true), "{pointer} {text:?}");
    }
}

#[test]
fn occurrences_and_nulls_are_the_same_to_schema_and_reader() {
    let numbers = [
        "0",
        "1",
        "2",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "-2",
        "2.5",
        "null",
        "\"2\"",
    ];
    let schema = validator_of::<Option<Occurrence>>();
    for number in numbers {
        let value: Value = serde_json::from_str(number).unwrap();
        let read = serde_json::from_str::<Option<Occurrence>>(number);
        assert_eq!(schema.is_valid(&value), read.is_ok(), "{number}");
    }
    // No schema can tell it from 2.
    assert!(schema.is_valid(&serde_json::json!(2.0)) && serde_json::from_str::<Occurrence>("2.0").is_err());
    let schema = validator(schema::envelope().as_value());
    for (pointer, accepted) in [("/payload/actor", true), ("/payload/uri", false), ("/meta", false)] {
        assert_eq!(both_accept(&schema, pointer, Value::Null), (accepted, accepted), "{pointer}");
    }
}

/// Texts that the pattern of the schema makes, damaged in up to three places, mean the same to schema and parser.
fn agree_on_damaged_texts<T: JsonSchema + std::str::FromStr<Err = ParseError>>(
    seeds: &'static [&'static str],
) {
    let schema = validator_of::<T>();
    let damage = (
        any::<prop::sample::Index>(),
        0..3,
        prop::char::ranges(vec!['\0'..='~', 'ä'..='ä', '\u{2028}'..='\u{2028}'].into()),
    );
    let pattern = schemars::schema_for!(T).get("pattern").unwrap().as_str().unwrap().to_owned();
    let made = prop::string::string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).unwrap();
    let texts = (
        prop_oneof![made, prop::sample::select(seeds).prop_map(str::to_owned)],
        prop::collection::vec(damage, 0..4),
    );
    let accepted = Cell::new(0);
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((text, damages) in texts)| {
        let mut text: Vec<char> = text.chars().collect();
        for (place, how, character) in damages {
            let place = place.index(text.len() + 1);
            match how {
                0 => text.insert(place, character),
                1 if place < text.len() => text[place] = character,
                _ => drop(text.drain(place..text.len().min(place + 1))),
            }
        }
        let text: String = text.into_iter().collect();
        let parsed = text.parse::<T>().is_ok();
        prop_assert_eq!(schema.is_valid(&text.as_str().into()), parsed, "{:?}", text);
        accepted.set(accepted.get() + u32::from(parsed));
    });
    assert!((100..1900).contains(&accepted.get()), "{accepted:?} of 2000 were valid: this compares little");
}

#[test]
fn domains_agree() {
    agree_on_damaged_texts::<Domain>(&["finance"]);
}

#[test]
fn unit_uris_agree() {
    agree_on_damaged_texts::<UnitUri>(&["strat://dev/rule/no-secrets@1.0.0-rc.1+build.7"]);
}

#[test]
fn resource_uris_agree() {
    agree_on_damaged_texts::<ResourceUri>(&["choco://docs/a?b#c"]);
}

#[test]
fn fingerprints_agree() {
    agree_on_damaged_texts::<Fingerprint>(&[
        "blake3:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "sha256:abababababababababababababababababababababababababababababababab",
    ]);
}

#[test]
fn sources_gates_and_keys_agree() {
    agree_on_damaged_texts::<Source>(&["orchestrator-http:publisher:1.4.0+build"]);
    agree_on_damaged_texts::<GateName>(&["human.approval"]);
    agree_on_damaged_texts::<IdempotencyKey>(&[
        "5d31cd56099aa2fdf7ccfece601991decc1fc8ba3e9e3b9ceb0c3f63812c0d87",
    ]);
}
