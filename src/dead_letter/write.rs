//! Writing a dead letter.

use super::{DeadLetterReason, header};
use crate::{
    log_limit::{LogLimit, limited},
    publish::{Outgoing, PublishError, PublishErrorKind, PublishReceipt, Publisher},
    subject::dead_letter_subject,
    telemetry::{
        dead_lettered,
        span::{self, Delivered},
    },
};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{error::Error, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;
use tracing::Instrument;

/// A broker that reads at all does so sooner. Who has no watch on the connection is not told that it may not.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// What is known of a message when it is dead-lettered.
#[derive(Debug)]
pub(crate) struct Obituary<'a> {
    /// Of any consumer: the server has looser rules for names than [`ConsumerName`](crate::ConsumerName) has.
    pub(crate) consumer: &'a str,
    pub(crate) reason: DeadLetterReason,
    pub(crate) error: &'a str,
    pub(crate) deliveries: u64,
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) payload: &'a Bytes,
    /// Where it is logged.
    pub(crate) lines: &'a LogLimit,
}

impl Obituary<'_> {
    /// Stores the dead letter, once however often it is repeated within the duplicate window.
    pub(crate) async fn store(&self, publisher: &Publisher, deadline: Instant) -> Result<(), PublishError> {
        let consumer = header::printable(self.consumer);
        let message_id = format!("{}:{}:{consumer}", self.stream, self.sequence);
        let destination = dead_letter_subject(self.consumer, self.subject);
        let (stream, subject, sequence) = (self.stream, self.subject, self.sequence);
        let of = Delivered { consumer: &consumer, stream, subject, sequence };
        let span = span::dead_letter(of, &destination, &message_id, self.reason.as_str());
        let stored = self.store_by_id(&message_id, publisher, deadline).instrument(span.clone()).await;
        let receipt = stored.inspect_err(|error| span::failed(&span, error.kind().name()))?;
        dead_lettered(&consumer, self.reason);
        limited!(
            self.lines, warn, "event is dead-lettered",
            parent: &span,
            consumer,
            reason = %self.reason,
            stream,
            sequence,
            dead_letter = receipt.sequence()
        );
        Ok(())
    }

    async fn store_by_id(
        &self,
        message_id: &str,
        publisher: &Publisher,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let receipt = self.store_as(message_id, publisher, deadline).await?;
        // A stream that was deleted and created anew counts from one again: the broker may know this message id from a
        // dead letter of the old stream, and has then dropped this one.
        if receipt.is_duplicate() && !self.is_held_by(&receipt, publisher, deadline).await {
            let content = hex::encode(Sha256::digest(self.payload));
            return self.store_as(&format!("{message_id}:{content}"), publisher, deadline).await;
        }
        Ok(receipt)
    }

    /// Where the original bytes and the headers together are more than the broker takes, the record refers to the
    /// stream and sequence instead of holding the bytes.
    async fn store_as(
        &self,
        message_id: &str,
        publisher: &Publisher,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        match publisher.publish_until(self.record(message_id), deadline).await {
            Err(error) if error.kind() == PublishErrorKind::TooLarge => {
                let mut record = self.record(message_id);
                record.payload = Bytes::new();
                header::set(&mut record.headers, header::PAYLOAD_OMITTED, &self.payload.len().to_string());
                publisher.publish_until(record, deadline).await
            }
            stored => stored,
        }
    }

    /// Whether the dead letter that the broker has holds these bytes. One without bytes, that is gone, or that this user
    /// may not read, proves nothing: a second letter is better than none, or than one that is waited for.
    async fn is_held_by(&self, receipt: &PublishReceipt, publisher: &Publisher, deadline: Instant) -> bool {
        match publisher.read_until(receipt, deadline.min(Instant::now() + READ_WITHIN)).await {
            Ok(stored) => stored.is_some_and(|stored| stored.payload == *self.payload),
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                limited!(
                    self.lines, warn, "dead letter that the broker has cannot be read back, and may be stored a second time",
                    dead_letter = receipt.sequence(),
                    %error,
                    cause
                );
                false
            }
        }
    }

    fn record(&self, message_id: &str) -> Outgoing {
        let mut headers = self.headers.map(header::of_event).unwrap_or_default();
        header::set(&mut headers, header::CONSUMER, self.consumer);
        header::set(&mut headers, header::REASON, self.reason.as_str());
        header::set(&mut headers, header::ERROR, self.error);
        header::set(&mut headers, header::DELIVERIES, &self.deliveries.to_string());
        header::set(&mut headers, header::STREAM, self.stream);
        header::set(&mut headers, header::SEQUENCE, &self.sequence.to_string());
        header::set(&mut headers, header::SUBJECT, self.subject);
        header::set(&mut headers, header::TIME, &now());
        headers.insert(NATS_MESSAGE_ID, message_id);
        let subject = dead_letter_subject(self.consumer, self.subject);
        Outgoing { subject, headers, payload: self.payload.clone() }
    }
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_microsecond(u32::from(now.millisecond()) * 1000)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default()
}
