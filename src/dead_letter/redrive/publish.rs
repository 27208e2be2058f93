//! Publishing the bytes of a dead letter.

use crate::{
    contract::event::key::IdempotencyKey,
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetters, READ_WITHIN, header, unavailable,
    },
    nats::stored::Stored,
    publish::{Outgoing, PublishReceipt},
    report::report,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

impl DeadLetters {
    /// Publishes the event of `letter`, `after` that of another one of its unit. Repeats within the duplicate
    /// window are dropped by the broker.
    pub(super) async fn publish(
        &self,
        letter: &DeadLetter,
        subject: &str,
        payload: Bytes,
        key: Option<IdempotencyKey>,
        after: Option<u64>,
    ) -> Result<PublishReceipt, DeadLetterError> {
        let failed = |error| {
            DeadLetterError::new(DeadLetterErrorKind::Publish, Some(letter.sequence())).caused_by(error)
        };
        // The digest of the bytes identifies what has no key that could be trusted.
        let key = key.map_or_else(|| header::digest(&payload), |key| key.to_string());
        let after = after.map_or_else(String::new, |after| format!(":after:{after}"));
        let message_id = format!("{key}:redrive:{}{after}", letter.sequence());
        let first = outgoing(letter, subject, payload.clone(), message_id.clone());
        let receipt = self.publisher.publish(first).await.map_err(failed)?;
        // A dead-letter stream that was recreated counts from one again: the broker may know this message id from the
        // dead letter that the same event had in the old stream, and has then dropped this publish.
        if receipt.is_duplicate() && !self.is_of(letter, &receipt).await {
            let second = format!("{message_id}:{}", header::digest(origin(letter).as_bytes()));
            return self.publisher.publish(outgoing(letter, subject, payload, second)).await.map_err(failed);
        }
        Ok(receipt)
    }

    /// Returns whether the event that the broker has was published for this dead letter. One that is gone, or that
    /// this user may not read, proves nothing: an event that is stored twice is better than one that is lost.
    async fn is_of(&self, letter: &DeadLetter, receipt: &PublishReceipt) -> bool {
        match self.publisher.read_until(receipt, Instant::now() + READ_WITHIN).await {
            Ok(stored) => stored.is_some_and(|stored| {
                header::get(&stored.headers, header::REDRIVEN) == Some(&*header::printable(&origin(letter)))
            }),
            Err(error) => {
                let (dead_letter, sequence) = (letter.sequence(), receipt.sequence());
                tracing::warn!(
                    dead_letter,
                    sequence,
                    error = %report(&error),
                    "event that the broker has cannot be read back, and may be stored a second time"
                );
                false
            }
        }
    }

    /// Returns the original bytes, which are in the stream of the event where they did not fit into the dead letter.
    pub(super) async fn payload_of(&self, letter: &DeadLetter) -> Result<Bytes, DeadLetterError> {
        let sequence = Some(letter.sequence());
        if !letter.is_payload_omitted() {
            return Ok(letter.payload().clone());
        }
        let gone = || DeadLetterError::new(DeadLetterErrorKind::PayloadGone, sequence);
        let stored = Stored::at(&self.context, letter.stream(), letter.stream_sequence()).await;
        let stored = stored.map_err(|error| unavailable(sequence, error))?;
        let payload = stored.ok_or_else(gone)?.payload;
        // A stream that was recreated has another event there.
        match letter.payload_digest() {
            Some(digest) if digest != header::digest(&payload) => Err(gone()),
            _ => Ok(payload),
        }
    }
}

/// Returns what identifies the dead letter in any dead-letter stream: no consumer gives up a delivery twice.
fn origin(letter: &DeadLetter) -> String {
    format!("{}:{}:{}", letter.stream(), letter.stream_sequence(), letter.consumer())
}

fn outgoing(letter: &DeadLetter, subject: &str, payload: Bytes, message_id: String) -> Outgoing {
    let mut headers: HeaderMap = header::of_event(letter.headers());
    header::set(&mut headers, header::REDRIVEN, &origin(letter));
    header::set(&mut headers, header::ORIGINAL, &letter.original_sequence().to_string());
    if letter.unit().is_some() {
        header::set(&mut headers, header::LETTER, &letter.sequence().to_string());
    }
    Outgoing::new(subject.to_owned(), message_id, headers, payload)
}
