//! Parse errors of texts with several parts name the part.

use std::{fmt::Debug, str::FromStr};
use stratt_event_bridge::{Fingerprint, ParseError, ResourceUri, Source, UnitUri};

fn told<T: FromStr<Err = ParseError> + Debug>(text: &str) -> (Option<&'static str>, String) {
    let error = text.parse::<T>().unwrap_err();
    (error.part(), error.to_string())
}

#[test]
fn a_unit_uri_says_which_part_of_it_is_wrong() {
    let shape = "must be strat://{domain}/{type}/{slug}@{semver}";
    for (text, part, says) in [
        ("http://dev/rule/a@1.0.0", None, "must begin with strat://".to_owned()),
        ("strat://dev", None, format!("has no type: {shape}")),
        ("strat://dev/rule", None, format!("has no slug: {shape}")),
        ("strat://dev/rule/a", None, format!("has no version: {shape}")),
        (
            "strat://Dev/rule/a@1.0.0",
            Some("domain"),
            r#"domain "Dev" must be 1 to 63 of a-z 0-9 - and not begin with -"#.to_owned(),
        ),
        (
            "strat://dev/1rule/a@1.0.0",
            Some("type"),
            r#"type "1rule" must be of a-z 0-9 - and begin with a letter"#.to_owned(),
        ),
        (
            "strat://dev/rule/No_Secrets@1.0.0",
            Some("slug"),
            r#"slug "No_Secrets" must be words of a-z 0-9, with one - between two"#.to_owned(),
        ),
        (
            "strat://dev/rule/a@1.0",
            Some("version"),
            r#"version "1.0" must be one of SemVer 2.0, such as 1.0.0"#.to_owned(),
        ),
    ] {
        assert_eq!(told::<UnitUri>(text), (part, format!("invalid unit URI {text:?}: {says}")));
    }
    let long = format!("strat://dev/rule/{}@1.0.0", "a".repeat(500));
    let (part, says) = told::<UnitUri>(&long);
    assert!(part.is_none() && says.ends_with("must have at most 512 bytes"), "{says}");
}

#[test]
fn a_part_behind_what_is_shown_of_a_long_text_is_shown_itself() {
    let (part, says) = told::<UnitUri>(&format!("strat://dev/rule/{}@1.0", "a".repeat(200)));
    assert_eq!(part, Some("version"));
    assert!(says.contains(r#"…": version "1.0" must be"#), "{says}");
    let (_, says) = told::<UnitUri>(&format!("strat://dev/rule/{}@1.0.0", "A".repeat(400)));
    assert!(says.len() < 300, "{says}");
}

#[test]
fn a_fingerprint_says_which_part_of_it_is_wrong() {
    let digits = "0f".repeat(32);
    for (text, part, says) in [
        (digits.clone(), None, "has no algorithm: must be {algorithm}:{lowercase hex}"),
        (
            format!("Blake3:{digits}"),
            Some("algorithm"),
            "must be 1 to 32 of a-z 0-9 - and begin with a letter",
        ),
        (
            format!("blake3:{}", digits.to_uppercase()),
            Some("digest"),
            "must be 1 to 256 lowercase hex digits",
        ),
        ("blake3:0f".to_owned(), Some("digest"), "must have 64 digits for blake3 and sha256"),
    ] {
        let (of, told) = told::<Fingerprint>(&text);
        assert!(of == part && told.ends_with(says), "{told}");
    }
}

#[test]
fn a_source_says_which_part_of_it_is_wrong() {
    for (text, part, says) in [
        ("a:b", None, "must be service:component:version"),
        ("a b:c:1", Some("service"), r#"service "a b" must be 1 to 64 of A-Z a-z 0-9 . _ -"#),
        ("a::1", Some("component"), r#"component "" must be 1 to 64 of A-Z a-z 0-9 . _ -"#),
        ("a:b:1~", Some("version"), r#"version "1~" must be 1 to 64 of A-Z a-z 0-9 . _ - +"#),
    ] {
        assert_eq!(told::<Source>(text), (part, format!("invalid source {text:?}: {says}")));
    }
}

#[test]
fn a_resource_uri_says_which_part_of_it_is_wrong() {
    let long = format!("a:{}", "b".repeat(2047));
    for (text, part, says) in [
        ("docs/a", None, "has no scheme: must be an absolute URI"),
        ("1a:b", Some("scheme"), r#"scheme "1a" must be of A-Z a-z 0-9 + - . and begin with a letter"#),
        ("a:", None, "has nothing behind its scheme"),
        ("a: b", None, "must be printable ASCII without blanks"),
        (long.as_str(), None, "must have at most 2048 bytes"),
    ] {
        let (of, told) = told::<ResourceUri>(text);
        assert!(of == part && told.ends_with(says), "{told}");
    }
}
