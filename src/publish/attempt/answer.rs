//! The answers that arrive in the inbox of a publish.

use crate::publish::{PublishReceipt, attempt::failure::Failure};
use async_nats::{Message, StatusCode, jetstream};
use serde::Deserialize;
use std::borrow::Cow;

/// An answer to a published message, borrowed from the message that brought it.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    Stored(Stored<'a>),
    /// Staged until its batch is committed.
    Staged,
    Refused(jetstream::Error),
    /// No stream takes the subject.
    NoStream,
    /// Not an answer of JetStream: any subscriber of the subject can send one.
    Foreign,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stored<'a> {
    #[serde(borrow)]
    pub(crate) stream: Cow<'a, str>,
    /// The sequence of the message, or of the last one of a batch.
    #[serde(rename = "seq")]
    pub(crate) sequence: u64,
    #[serde(default, rename = "duplicate")]
    pub(crate) is_duplicate: bool,
    /// The JetStream domain of the stream.
    #[serde(default, borrow)]
    pub(crate) domain: Option<Cow<'a, str>>,
    /// The number of messages of a batch.
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// An error names the stream as well, and a sequence of 0.
    #[serde(default)]
    error: Option<jetstream::Error>,
}

/// An error that may name no stream.
#[derive(Deserialize)]
struct Refused {
    error: jetstream::Error,
}

impl<'a> Answer<'a> {
    pub(crate) fn read(message: &'a Message) -> Self {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::NoStream;
        }
        if message.payload.is_empty() {
            return Self::Staged;
        }
        match serde_json::from_slice(&message.payload) {
            Ok(Stored { error: Some(error), .. }) => Self::Refused(error),
            Ok(stored) => Self::Stored(stored),
            Err(_) => match serde_json::from_slice(&message.payload) {
                Ok(Refused { error }) => Self::Refused(error),
                Err(_) => Self::Foreign,
            },
        }
    }

    /// Returns the receipt, or the failure. An answer that is not [final](is_final) counts as none.
    pub(crate) fn receipt(self) -> Result<PublishReceipt, Failure> {
        self.outcome().unwrap_or_else(|| Err(Failure::unanswered())).map(PublishReceipt::from)
    }

    /// Returns what is stored, or the failure; `None` if the answer is not final.
    pub(crate) fn outcome(self) -> Option<Result<Stored<'a>, Failure>> {
        Some(match self {
            Self::Stored(Stored { sequence: 0, .. }) => Err(Failure::without_sequence()),
            Self::Stored(stored) => Ok(stored),
            Self::Refused(error) => Err(error.into()),
            Self::NoStream => Err(Failure::without_stream()),
            Self::Staged | Self::Foreign => return None,
        })
    }
}

/// Returns whether it answers a message that is in no batch, or the last one of a batch.
pub(crate) fn is_final(answer: &Answer<'_>) -> bool {
    !matches!(answer, Answer::Staged | Answer::Foreign)
}

/// Returns whether JetStream may have given it.
pub(crate) fn is_of_jetstream(answer: &Answer<'_>) -> bool {
    !matches!(answer, Answer::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(status: Option<StatusCode>, payload: &'static str) -> Message {
        let (subject, payload) = ("_INBOX.a.0".into(), payload.into());
        Message { subject, reply: None, payload, headers: None, status, description: None, length: 0 }
    }

    #[test]
    fn answers_of_a_real_server_are_told_apart() {
        let read = |payload| format!("{:?}", Answer::read(&message(None, payload)));
        for (payload, expected) in [
            (r#"{"stream":"S","seq":7}"#, "Stored(Stored { stream: \"S\", sequence: 7, is_duplicate: false"),
            (
                r#"{"stream":"S","seq":7,"duplicate":true}"#,
                "Stored(Stored { stream: \"S\", sequence: 7, is_duplicate: true",
            ),
            (
                r#"{"error":{"code":400,"err_code":10201,"description":"duplicate"},"stream":"S","seq":0}"#,
                "Refused(",
            ),
            (r#"{"error":{"code":503,"description":"no quorum"}}"#, "Refused("),
            ("", "Staged"),
            ("+OK", "Foreign"),
            ("{}", "Foreign"),
            (r#"{"stream":"S","seq":-1}"#, "Foreign"),
        ] {
            assert!(read(payload).starts_with(expected), "{payload}: {}", read(payload));
        }
        let no_stream = message(Some(StatusCode::NO_RESPONDERS), "");
        assert!(matches!(Answer::read(&no_stream), Answer::NoStream));
    }
}
