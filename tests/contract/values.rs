//! The text values of the contract: what is valid, and what hostile text can never become.

use std::str::FromStr;
use stratt_event_bridge::{
    ConsumerName, Domain, EventType, Fingerprint, GateName, IdempotencyKey, Occurrence, ParseError,
    ResourceUri, RunId, Source, UnitUri,
    schema::{JsonSchema, schemars},
};
use support::validator_of;

/// Checks that parser and schema accept the same texts.
fn check<T: FromStr<Err = ParseError> + AsRef<str> + JsonSchema>(valid: &[&str], invalid: &[&str]) {
    let schema = validator_of::<T>();
    for text in valid {
        match text.parse::<T>() {
            Ok(value) => assert_eq!(value.as_ref(), *text),
            Err(error) => panic!("{error}"),
        }
        assert!(schema.is_valid(&(*text).into()), "{text:?} must be valid to the schema");
    }
    let hostile =
        ["", " ", "*", ">", "a.*", "a b", "a\n", "a\r\nb", "a\0", "\t", "ä", "a\u{202e}", "$JS", "a>"];
    for text in invalid.iter().chain(&hostile) {
        let Err(error) = text.parse::<T>() else { panic!("{text:?} must be refused") };
        assert!(!error.to_string().chars().any(char::is_control), "{error} has control characters");
        assert!(!schema.is_valid(&(**text).into()), "{text:?} must be refused by the schema");
    }
}

#[test]
fn domains() {
    let long = "a".repeat(64);
    check::<Domain>(&["dev", "0", "a-b", &long[..63]], &["-a", "A", "a_b", "a.b", &long]);
}

#[test]
fn consumer_names() {
    let long = "a".repeat(65);
    check::<ConsumerName>(&["a", "A-b_9", "-", &long[..64]], &["a.b", "a/b", &long]);
}

#[test]
fn fingerprints() {
    let (digits, odd) = ("0f".repeat(32), "0".repeat(63));
    let valid = [format!("blake3:{digits}"), format!("sha256:{digits}"), "md5:00".into(), "x-1:abc".into()];
    let invalid = [
        format!("blake3:{odd}"),
        format!("sha256:{digits}00"),
        format!("blake3:{}", digits.to_uppercase()),
        format!("Blake3:{digits}"),
        format!("blake3:{digits}\n"),
        digits.clone(),
        format!(":{digits}"),
        "blake3:".into(),
        format!("x:{}", "0".repeat(257)),
    ];
    check::<Fingerprint>(&valid.each_ref().map(String::as_str), &invalid.each_ref().map(String::as_str));
}

#[test]
fn sources() {
    check::<Source>(
        &["a:b:c", "orchestrator-http:publisher:1.4.0+build"],
        &["a:b", "a:b:c:d", "a::c", ":b:c", "a:b:"],
    );
}

#[test]
fn gates_and_runs() {
    let long = "a".repeat(129);
    check::<GateName>(&["legal.review-1_a", &long[..128]], &["a&b", "a#b", "a=b", &long]);
    check::<RunId>(&["2026-03-31_01", &long[..128]], &["a&b", "a#b", &long]);
}

#[test]
fn uris() {
    check::<UnitUri>(
        &["strat://dev/rule/a@1.0.0"],
        &["strat://dev/rule/a@1.0.0#occurrence=2", "dev/rule/a@1.0.0"],
    );
    check::<ResourceUri>(&["choco://docs/a", "urn:x"], &["docs/a", "://a"]);
}

#[test]
fn event_types_and_keys() {
    check::<EventType>(
        &["unit.published", "chain.gate.resolved"],
        &["unit", "Unit.Published", "unit.published "],
    );
    let key = "0a".repeat(32);
    check::<IdempotencyKeyText>(&[&key], &[&key[1..], &key.to_uppercase(), &format!("{key}0")]);
}

/// An idempotency key is no text, so it is written out to be compared.
struct IdempotencyKeyText(String);

impl FromStr for IdempotencyKeyText {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse::<IdempotencyKey>().map(|key| Self(key.to_string()))
    }
}

impl JsonSchema for IdempotencyKeyText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        IdempotencyKey::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        IdempotencyKey::json_schema(generator)
    }
}

impl AsRef<str> for IdempotencyKeyText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[test]
fn occurrences_begin_with_the_second() {
    assert!(Occurrence::try_from(0).is_err());
    assert!(Occurrence::try_from(1).is_err());
    assert_eq!(Occurrence::try_from(2).unwrap().get(), 2);
}

#[test]
fn errors_show_little_of_a_long_text() {
    let error = "x".repeat(1_000_000).parse::<Domain>().unwrap_err();
    assert!(error.to_string().len() < 200, "{}", error.to_string().len());
    assert_eq!(error.what(), "domain");
}
