//! Hostile envelopes: large, deep, or of another form than a struct expects. None may panic, and none may cost much.

use stratt_event_bridge::{DecodeError, DecodeErrorKind, Envelope, EventVersion};
use support::{published, source};

const SUBJECT: &str = "strat.dev.unit.published";
const MEBIBYTE: usize = 1024 * 1024;

fn decode(text: &str) -> Result<Envelope, DecodeError> {
    // Without the limit of size, which would refuse most of them unread.
    Envelope::decode_at_most(8 * MEBIBYTE, SUBJECT, text.as_bytes())
}

fn valid() -> String {
    let envelope = Envelope::builder(published("a", 1), source()).build().unwrap();
    String::from_utf8(envelope.encode().unwrap()).unwrap()
}

fn with_field(field: &str) -> String {
    valid().replacen('{', &format!("{{{field},"), 1)
}

#[test]
fn deep_nesting_is_refused_or_skipped_and_never_overflows() {
    for brackets in ["[", "{\"a\":", "[{\"\":"] {
        let opened = brackets.repeat(MEBIBYTE / brackets.len());
        assert!(decode(&opened).is_err());
        for field in ["unknown", "meta", "payload", "eventType"] {
            assert!(decode(&format!("{{\"{field}\":{opened}")).is_err());
        }
    }
    let deep = format!("{}{}", "[".repeat(MEBIBYTE / 2), "]".repeat(MEBIBYTE / 2));
    // Unknown fields are skipped and meta is kept as text, without recursion.
    assert!(decode(&with_field(&format!("\"unknown\":{deep}"))).is_ok());
    let envelope = decode(&valid().replace("\"meta\":{}", &format!("\"meta\":{{\"deep\":{deep}}}"))).unwrap();
    assert!(envelope.meta().get::<serde_json::Value>("deep").is_err());
    assert!(envelope.encode().is_ok());
}

#[test]
fn huge_numbers_are_refused_where_they_are_read() {
    let digits = "9".repeat(MEBIBYTE);
    for number in ["1e400", "-1e400", digits.as_str()] {
        assert!(
            decode(&valid().replace("\"payload\":{", &format!("\"payload\":{{\"occurrence\":{number},")))
                .is_err()
        );
        assert!(decode(&with_field(&format!("\"unknown\":{number}"))).is_ok());
    }
}

#[test]
fn a_later_minor_version_with_unknown_fields_is_read() {
    let text = with_field("\"added\":{\"in\":[\"1.7\"]}")
        .replace("\"1.0\"", "\"1.7\"")
        .replace("\"payload\":{", "\"payload\":{\"alsoAdded\":null,");
    let envelope = decode(&text).unwrap();
    assert_eq!(envelope.event_version().minor(), 7);
    assert_ne!(envelope.event_version(), EventVersion::CURRENT);
}

#[test]
fn fields_may_come_in_any_order_and_with_escapes() {
    let value: serde_json::Value = serde_json::from_str(&valid()).unwrap();
    let mut fields: Vec<_> = value.as_object().unwrap().iter().collect();
    fields.reverse();
    let turned: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    assert!(decode(&format!("{{{}}}", turned.join(","))).is_ok());
    assert!(decode(&valid().replace("unit.published", "unit\\u002epublished")).is_ok());
}

#[test]
fn size_is_checked_before_anything_is_parsed() {
    let text = with_field(&format!("\"unknown\":\"{}\"", "x".repeat(256 * 1024)));
    let error = Envelope::<stratt_event_bridge::AnyEvent>::decode(SUBJECT, text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), DecodeErrorKind::TooLarge);
    let garbage = vec![b'x'; Envelope::MAX_BYTES + 1];
    let error = Envelope::<stratt_event_bridge::AnyEvent>::decode(SUBJECT, &garbage).unwrap_err();
    assert_eq!(error.kind(), DecodeErrorKind::TooLarge);
}

#[test]
fn meta_is_read_on_demand_and_never_shown() {
    let envelope = Envelope::builder(published("a", 1), source()).meta("token", 1).meta("token", "s3cret");
    let envelope = envelope.meta("n", 7).build().unwrap();
    assert_eq!(envelope.meta().as_json(), "{\"token\":\"s3cret\",\"n\":7}");
    assert_eq!(envelope.meta().get::<u8>("n").unwrap(), Some(7));
    assert_eq!(envelope.meta().get::<u8>("absent").unwrap(), None);
    assert!(envelope.meta().get::<u8>("token").is_err());
    assert!(!format!("{envelope:?}").contains("s3cret"));
}
