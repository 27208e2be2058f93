//! A dead letter as an object of JSON.

use crate::text::rfc3339;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use std::collections::BTreeMap;
use stratt_event_bridge::{Event, IdempotencyKey, dead_letter::DeadLetter};

/// The names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    sequence: u64,
    consumer: &'a str,
    /// `null` if the record was not written by this contract, like `time`.
    reason: Option<&'static str>,
    error: &'a str,
    deliveries: u64,
    stream: &'a str,
    stream_sequence: u64,
    subject: &'a str,
    domain: &'a str,
    event_type: &'a str,
    time: Option<String>,
    /// `null` if the event is not valid, or not stored here, like `idempotencyKey`.
    unit: Option<String>,
    idempotency_key: Option<IdempotencyKey>,
    headers: BTreeMap<String, Vec<String>>,
    /// `text` or `base64`, for what is no UTF-8.
    payload_encoding: &'static str,
    payload: String,
    payload_omitted: bool,
    headers_omitted: bool,
}

impl<'a> From<&'a DeadLetter> for Shown<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        let (payload_encoding, payload) = match std::str::from_utf8(letter.payload()) {
            Ok(text) => ("text", text.to_owned()),
            Err(_) => ("base64", STANDARD.encode(letter.payload())),
        };
        let envelope = letter.envelope().ok();
        Self {
            unit: envelope.as_ref().map(|envelope| envelope.event().unit_uri().to_string()),
            idempotency_key: envelope.map(|envelope| envelope.idempotency_key()),
            sequence: letter.sequence(),
            consumer: letter.consumer(),
            reason: letter.reason().map(|reason| reason.as_str()),
            error: letter.error(),
            deliveries: letter.deliveries(),
            stream: letter.stream(),
            stream_sequence: letter.stream_sequence(),
            subject: letter.subject(),
            domain: letter.domain(),
            event_type: letter.event_type(),
            time: letter.time().and_then(rfc3339),
            headers: headers(letter),
            payload_encoding,
            payload,
            payload_omitted: letter.is_payload_omitted(),
            headers_omitted: letter.are_headers_omitted(),
        }
    }
}

fn headers(letter: &DeadLetter) -> BTreeMap<String, Vec<String>> {
    let values = |values: &[_]| values.iter().map(ToString::to_string).collect();
    letter.headers().iter().map(|(name, of_name)| (name.to_string(), values(of_name))).collect()
}

impl Shown<'_> {
    /// Returns sequence, time, reason, consumer, subject, deliveries and error.
    pub(super) fn line(&self) -> String {
        let time = self.time.as_deref().unwrap_or("-");
        let reason = self.reason.unwrap_or("-");
        let Self { sequence, consumer, subject, deliveries, error, .. } = self;
        format!("{sequence:>8}  {time:<24}  {reason:<9}  {consumer}  {subject}  {deliveries}  {error}")
    }

    /// Returns a line for each header, then the bytes.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("sequence: {}", self.sequence)];
        lines.extend(self.unit.iter().map(|unit| format!("unit: {unit}")));
        lines.extend(self.idempotency_key.iter().map(|key| format!("key, for `strattctl explain`: {key}")));
        for (name, values) in &self.headers {
            lines.extend(values.iter().map(|value| format!("{name}: {value}")));
        }
        lines.push(match (self.payload_omitted, self.payload_encoding) {
            (true, _) => {
                format!("payload: too large, in {} at {}", self.stream, self.stream_sequence)
            }
            (false, encoding) => format!("payload ({encoding}): {}", self.payload),
        });
        lines
    }
}
