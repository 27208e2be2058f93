//! The headers of a dead letter, and the text that may stand in them.

use async_nats::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use std::str::FromStr;

pub(crate) const CONSUMER: &str = "Strat-Dead-Letter-Consumer";
pub(crate) const REASON: &str = "Strat-Dead-Letter-Reason";
pub(crate) const ERROR: &str = "Strat-Dead-Letter-Error";
pub(crate) const DELIVERIES: &str = "Strat-Dead-Letter-Deliveries";
pub(crate) const STREAM: &str = "Strat-Dead-Letter-Stream";
pub(crate) const SEQUENCE: &str = "Strat-Dead-Letter-Sequence";
pub(crate) const SUBJECT: &str = "Strat-Dead-Letter-Subject";
pub(crate) const TIME: &str = "Strat-Dead-Letter-Time";
/// Present when the original bytes did not fit beside the other headers: they are in the stream, at the sequence.
pub(crate) const PAYLOAD_OMITTED: &str = "Strat-Dead-Letter-Payload-Omitted";
/// Present with [`PAYLOAD_OMITTED`]: the [`digest`] of the original bytes.
pub(crate) const PAYLOAD_DIGEST: &str = "Strat-Dead-Letter-Payload-Digest";
/// Present when the original headers did not fit, or could not be read: how many bytes they had.
pub(crate) const HEADERS_OMITTED: &str = "Strat-Dead-Letter-Headers-Omitted";
/// On an event that was redriven: the stream, sequence and consumer of its dead letter.
pub(crate) const REDRIVEN: &str = "Strat-Dead-Letter-Redriven";
/// On an event that was redriven, and on its dead letters: its sequence in the stream as it was published.
pub(crate) const ORIGINAL: &str = "Strat-Dead-Letter-Original";
/// On a dead letter of a consumer that parks: the unit of its event, whose later events are parked behind it.
pub(crate) const UNIT: &str = "Strat-Dead-Letter-Unit";
/// On an event that was redriven and whose dead letter stays until it is handled: the sequence of that dead letter.
pub(crate) const LETTER: &str = "Strat-Dead-Letter-Letter";

const PREFIX: &str = "Strat-Dead-Letter-";
pub(crate) const MAX_TEXT: usize = 1024;

/// Sets a header to any `text`, escaped to one line of printable text and cut at 1 KiB.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(&printable(text)) {
        headers.insert(name, value);
    }
}

/// Returns `text` as one line, cut at 1 KiB.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_TEXT));
    for character in text.chars() {
        let start = line.len();
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() > MAX_TEXT {
            line.truncate(start);
            break;
        }
    }
    line
}

pub(super) fn get<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::as_str)
}

/// Returns the SHA-256 of `bytes` in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns how many bytes the headers take on the wire.
pub(super) fn size(headers: &HeaderMap) -> usize {
    let of_one =
        |name: &str, value: &HeaderValue| name.len() + ": ".len() + value.as_str().len() + "\r\n".len();
    let all = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let lines: usize = all.map(|(name, value)| of_one(name.as_ref(), value)).sum();
    "NATS/1.0\r\n\r\n".len() + lines
}

/// Returns the headers that belong to the event itself: neither the broker's nor those of a dead letter.
pub(crate) fn of_event(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let text = name.as_ref();
        let is_brokers = starts_with_ignoring_case(text, "Nats-");
        if !is_brokers && !starts_with_ignoring_case(text, PREFIX) {
            for value in values {
                kept.append(name.clone(), value.clone());
            }
        }
    }
    kept
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_one_short_printable_line() {
        let cases = [("plain", "plain"), ("two\r\nlines\t\0", "two\\r\\nlines\\t\\u{0}"), ("grün", "grün")];
        for (text, line) in cases {
            assert_eq!(printable(text), line);
        }
        for text in ["x".repeat(5000), "\n".repeat(5000), "ü".repeat(5000), "\u{1}".repeat(300)] {
            let line = printable(&text);
            assert!(line.len() <= MAX_TEXT && line.len() > MAX_TEXT - 8, "{}", line.len());
        }
    }

    #[test]
    fn only_headers_of_the_event_are_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "1");
        headers.insert("nats-expected-stream", "S");
        headers.insert("strat-dead-letter-reason", "forged");
        headers.append("traceparent", "a");
        headers.append("traceparent", "b");
        let kept = of_event(&headers);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept.get_all("traceparent").count(), 2);
    }
}
