//! The server's advisory that it will not deliver an event again.

use crate::{
    dead_letter::{DEAD_LETTERED_PREFIX, DeadLetterReason},
    nats::api::of_consumer_advisory,
};
use serde::Deserialize;
use time::{OffsetDateTime, serde::rfc3339};

/// An advisory: the server gave up an event of a consumer, or the consumer terminated it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Advisory {
    stream: String,
    pub(super) consumer: String,
    #[serde(rename = "stream_seq")]
    pub(super) sequence: u64,
    pub(super) deliveries: u64,
    #[serde(rename = "timestamp", with = "rfc3339")]
    pub(super) time: OffsetDateTime,
    /// The JetStream domain of the stream.
    #[serde(default)]
    pub(super) domain: Option<String>,
    /// The consumer's reason for terminating the event.
    reason: Option<String>,
    #[serde(skip)]
    is_termination: bool,
}

impl Advisory {
    /// Reads an advisory; `None` if it is not one, or contradicts the subject it arrived on.
    pub(super) fn parse(subject: &str, payload: &[u8]) -> Option<Self> {
        let (kind, stream, consumer) = of_consumer_advisory(subject)?;
        let is_termination = match kind {
            "MAX_DELIVERIES" => false,
            "MSG_TERMINATED" => true,
            _ => return None,
        };
        let advisory: Self = serde_json::from_slice(payload).ok()?;
        let agrees = advisory.stream == stream && advisory.consumer == consumer;
        agrees.then_some(Self { is_termination, ..advisory })
    }

    /// Returns whether the consumer has stored the dead letter itself, as those of this crate do.
    pub(super) fn is_stored(&self) -> bool {
        self.is_termination
            && self.reason.as_ref().is_some_and(|reason| reason.starts_with(DEAD_LETTERED_PREFIX))
    }

    pub(super) fn verdict(&self) -> DeadLetterReason {
        if self.is_termination { DeadLetterReason::Rejected } else { DeadLetterReason::Exhausted }
    }

    pub(super) fn error(&self) -> String {
        match &self.reason {
            Some(reason) if !reason.is_empty() => reason.clone(),
            _ if self.is_termination => "terminated by the consumer, without a reason".into(),
            _ => format!(
                "not acknowledged in {} deliveries, the most that the consumer allows",
                self.deliveries
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINATED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STRATT_EVENTS.c";
    const EXHAUSTED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.STRATT_EVENTS.c";

    fn json(more: &str) -> String {
        format!(
            r#"{{"type":"io.nats","id":"x","timestamp":"2026-11-24T04:16:15.430333513Z",
            "stream":"STRATT_EVENTS","consumer":"c","stream_seq":5,"deliveries":3{more}}}"#
        )
    }

    #[test]
    fn the_verdict_and_the_error_are_what_the_server_says() {
        let cases = [
            (
                EXHAUSTED,
                "",
                "exhausted",
                "not acknowledged in 3 deliveries, the most that the consumer allows",
            ),
            (TERMINATED, r#","reason":"no such host""#, "rejected", "no such host"),
            (TERMINATED, "", "rejected", "terminated by the consumer, without a reason"),
        ];
        for (subject, more, verdict, error) in cases {
            let advisory = Advisory::parse(subject, json(more).as_bytes()).unwrap();
            assert_eq!((advisory.sequence, advisory.deliveries, advisory.is_stored()), (5, 3, false));
            assert_eq!((advisory.verdict().as_str(), advisory.error().as_str()), (verdict, error));
        }
    }

    #[test]
    fn only_a_termination_can_say_that_its_letter_is_stored() {
        let stored = json(r#","reason":"dead-lettered: rejected""#);
        assert!(Advisory::parse(TERMINATED, stored.as_bytes()).unwrap().is_stored());
        assert!(!Advisory::parse(EXHAUSTED, stored.as_bytes()).unwrap().is_stored());
    }

    #[test]
    fn what_is_no_advisory_or_contradicts_its_subject_is_none() {
        for subject in [
            "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.STRATT_EVENTS.c",
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.STRATT_EVENTS.other",
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.OTHER.c",
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES",
        ] {
            assert_eq!(Advisory::parse(subject, json("").as_bytes()), None, "{subject}");
        }
        for payload in
            ["", "[]", "{}", "\u{0}", &json("").replace("5,", "-5,"), &json("").replace("T04", "x")]
        {
            assert_eq!(Advisory::parse(EXHAUSTED, payload.as_bytes()), None, "{payload}");
        }
    }
}
