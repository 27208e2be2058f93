//! Properties: what is written is read back, different facts have different keys, and no bytes make it panic.

use proptest::{option, prelude::*};
use stratt_event_bridge::{
    AnyEvent, ChainGateFired, ChainGateResolved, DecodeErrorKind, Envelope, Event, Fingerprint, GateName,
    GateOutcome, IdempotencyKey, Identity, Occurrence, ResourceUri, RunId, Source, UnitDeprecated,
    UnitFingerprintVerified, UnitImportResolved, UnitPublished, UnitTampered, UnitUri,
};
use time::OffsetDateTime;

fn unit_uri() -> impl Strategy<Value = UnitUri> {
    let semver =
        r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]?)\.(0|[1-9])(-(rc|[1-9]|x-)(\.(0|7a))?)?(\+[0-9A-Za-z-]{1,5})?";
    let uri =
        (r"[a-z0-9][a-z0-9-]{0,12}", r"[a-z][a-z0-9-]{0,6}", r"[a-z0-9]{1,6}(-[a-z0-9]{1,4}){0,2}", semver);
    uri.prop_map(|(domain, kind, slug, version)| {
        format!("strat://{domain}/{kind}/{slug}@{version}").parse().unwrap()
    })
}

fn resource_uri() -> impl Strategy<Value = ResourceUri> {
    "[a-z][a-z0-9+.-]{0,5}:[!-~]{1,40}".prop_map(|text| text.parse().unwrap())
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    prop_oneof!["(blake3|sha256):[0-9a-f]{64}", "md5:[0-9a-f]{32}"].prop_map(|text| text.parse().unwrap())
}

fn gate() -> impl Strategy<Value = (GateName, RunId)> {
    ("[A-Za-z0-9._-]{1,20}", "[A-Za-z0-9._-]{1,20}")
        .prop_map(|(gate, run)| (gate.parse().unwrap(), run.parse().unwrap()))
}

fn occurrence() -> impl Strategy<Value = Option<Occurrence>> {
    option::of((2_u64..).prop_map(|number| Occurrence::try_from(number).unwrap()))
}

/// Any text at all: quotes, line breaks, NUL and what lies beyond the basic plane.
fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

/// One event of each type, made from the same parts.
fn events() -> impl Strategy<Value = Vec<AnyEvent>> {
    let parts = (unit_uri(), unit_uri(), resource_uri(), fingerprint(), fingerprint(), gate());
    (parts, text(), text(), text(), occurrence(), any::<bool>()).prop_map(
        |((uri, other, imported, a, b, (gate, run)), one, two, three, occurrence, passed)| {
            let outcome = if passed { GateOutcome::Pass } else { GateOutcome::Fail };
            let mut published = UnitPublished::new(uri.clone(), a.clone());
            published.previous_status = one.clone();
            published.occurrence = occurrence;
            let mut deprecated = UnitDeprecated::new(uri.clone(), a.clone()).with_successor(other);
            deprecated.reason = two.clone();
            deprecated.occurrence = occurrence;
            let mut tampered = UnitTampered::new(uri.clone(), a.clone(), b.clone());
            tampered.actor = three.clone();
            tampered.occurrence = occurrence;
            let mut verified = UnitFingerprintVerified::new(uri.clone(), a.clone());
            verified.actor = one.clone();
            let mut import = UnitImportResolved::new(uri.clone(), imported, b);
            import.resolver = two.clone();
            let mut fired = ChainGateFired::new(uri.clone(), gate.clone(), run.clone(), a.clone());
            fired.actor = three.clone();
            let mut resolved = ChainGateResolved::new(uri, gate, run, a, outcome);
            resolved.reason = one;
            resolved.resolved_by = two;
            resolved.actor = three;
            vec![
                published.into(),
                deprecated.into(),
                tampered.into(),
                verified.into(),
                import.into(),
                fired.into(),
                resolved.into(),
            ]
        },
    )
}

fn source() -> Source {
    "service:component:1.0.0".parse().unwrap()
}

fn decode(subject: &str, bytes: &[u8]) -> Result<Envelope, stratt_event_bridge::DecodeError> {
    Envelope::decode(subject, bytes)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        events in events(),
        (name, value) in (any::<String>(), any::<String>()),
        nanos in -60_000_000_000_000_000_000_i128..250_000_000_000_000_000_000_i128,
    ) {
        for event in events {
            let envelope = Envelope::builder(event, source())
                .timestamp(OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap())
                .meta(name.clone(), value.clone())
                .meta("nested", serde_json::json!({ "a": [1, null, { "b": 2.5 }] }))
                .build()
                .unwrap();
            let bytes = envelope.encode().unwrap();
            let read = decode(&envelope.subject(), &bytes).unwrap();
            prop_assert_eq!(read.encode().unwrap(), bytes);
            prop_assert_eq!(&read, &envelope);
            if name != "nested" {
                prop_assert_eq!(read.meta().get::<String>(&name).unwrap(), Some(value.clone()));
            }
        }
    }

    #[test]
    fn different_facts_have_different_keys(a in events(), b in events()) {
        let facts: Vec<_> = a.iter().chain(&b).collect();
        for (i, one) in facts.iter().enumerate() {
            for other in &facts[..i] {
                let fact = |e: &AnyEvent| (e.event_type(), e.identity().to_string(), e.fingerprint().clone());
                prop_assert_eq!(fact(one) == fact(other), one.idempotency_key() == other.idempotency_key());
            }
        }
    }

    #[test]
    fn identities_print_alike_only_if_they_are(
        (uri, other) in (unit_uri(), unit_uri()),
        (imported, (gate, run)) in (resource_uri(), gate()),
        occurrence in occurrence(),
    ) {
        let identities = [
            Identity::unit(&uri, None),
            Identity::unit(&uri, occurrence),
            Identity::unit(&other, occurrence),
            Identity::import(&uri, &imported),
            Identity::gate(&uri, &gate, &run),
        ];
        for one in &identities {
            for two in &identities {
                prop_assert_eq!(one == two, one.to_string() == two.to_string());
            }
        }
    }

    #[test]
    fn keys_are_read_back(bytes in any::<[u8; 32]>()) {
        let text = hex::encode(bytes);
        let key: IdempotencyKey = text.parse().unwrap();
        prop_assert_eq!(key.as_bytes(), &bytes);
        prop_assert_eq!(key.to_string(), text);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), subject in any::<String>()) {
        prop_assert!(decode("strat.dev.unit.published", &bytes).is_err());
        prop_assert!(decode(&subject, &bytes).is_err());
    }

    #[test]
    fn a_changed_envelope_is_refused_or_the_same_fact(
        events in events(),
        index in any::<prop::sample::Index>(),
        change in 0..3_u8,
        byte in any::<u8>(),
    ) {
        for event in events {
            let envelope = Envelope::builder(event.clone(), source()).build().unwrap();
            let mut bytes = envelope.encode().unwrap();
            let at = index.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
            if let Ok(read) = decode(&envelope.subject(), &bytes) {
                prop_assert_eq!(read.event().idempotency_key(), event.idempotency_key());
            }
        }
    }
}

#[test]
fn a_timestamp_that_cannot_be_written_is_not_built() {
    let event = UnitPublished::new(
        "strat://dev/rule/a@1.0.0".parse().unwrap(),
        format!("blake3:{}", "0".repeat(64)).parse().unwrap(),
    );
    let before_year_0 = time::Date::MIN.midnight().assume_utc();
    assert!(Envelope::builder(event.clone(), source()).timestamp(before_year_0).build().is_err());
    let other: Result<Envelope<UnitTampered>, _> = Envelope::decode(
        "strat.dev.unit.published",
        &Envelope::builder(event, source()).build().unwrap().encode().unwrap(),
    );
    assert_eq!(other.unwrap_err().kind(), DecodeErrorKind::OtherEventType);
}
