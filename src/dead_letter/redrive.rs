//! Publishing dead-lettered events again.

use crate::{
    contract::{domain::Domain, envelope::Envelope, event::EventType, subject::Address},
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetterFilter, DeadLetters, READ_WITHIN, header,
        unavailable,
    },
    nats::stored::Stored,
    publish::{Outgoing, PublishReceipt},
    report::report,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::time::Instant;

impl DeadLetters {
    /// Publishes the original bytes to the original `strat.` subject again, then removes the dead letter.
    ///
    /// Every consumer receives the event again: those that settled it skip it, the one that failed handles it with
    /// a fresh count of attempts. Repeating a redrive whose answer was lost is safe: it has a message id of its own,
    /// and once the dead letter is removed the answer is [`NotFound`](DeadLetterErrorKind::NotFound).
    ///
    /// # Errors
    ///
    /// A [`DeadLetterError`] whose kind says why; unless it is `NotFound`, the dead letter is still there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the event published and the dead letter in place; redriving again is safe.
    pub async fn redrive(&self, sequence: u64) -> Result<PublishReceipt, DeadLetterError> {
        let letter = self.get(sequence).await?;
        let payload = self.payload_of(&letter).await?;
        let receipt = self.publish(&letter, payload).await?;
        match self.discard(sequence).await {
            // Another process redrove it at the same time, with the same message id.
            Err(error) if error.kind() == DeadLetterErrorKind::NotFound => {}
            discarded => discarded?,
        }
        tracing::info!(dead_letter = sequence, subject = letter.subject(), "dead letter is redriven");
        Ok(receipt)
    }

    /// Redrives all that match and were stored when this was called, oldest first; yields the outcome of each.
    ///
    /// # Errors
    ///
    /// When the broker does not answer. A dead letter that cannot be redriven yields its error and does not stop
    /// the others.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the stream is polled; dropping it stops after the one under way, as for
    /// [`redrive`](Self::redrive).
    pub async fn redrive_all(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<
        impl Stream<Item = Result<PublishReceipt, DeadLetterError>> + Send + Unpin + use<>,
        DeadLetterError,
    > {
        let letters = self.list(filter).await?;
        let dead_letters = self.clone();
        let redriven = letters.then(move |letter| {
            let dead_letters = dead_letters.clone();
            async move { dead_letters.redrive(letter?.sequence()).await }
        });
        Ok(redriven.boxed())
    }

    /// Publishes the event of `letter`. Repeats within the duplicate window are dropped by the broker.
    async fn publish(&self, letter: &DeadLetter, payload: Bytes) -> Result<PublishReceipt, DeadLetterError> {
        let failed = |error| {
            DeadLetterError::new(DeadLetterErrorKind::Publish, Some(letter.sequence())).caused_by(error)
        };
        let message_id = format!("{}:redrive:{}", key(letter, &payload), letter.sequence());
        let first = outgoing(letter, payload.clone(), message_id.clone())?;
        let receipt = self.publisher.publish(first).await.map_err(failed)?;
        // A dead-letter stream that was recreated counts from one again: the broker may know this message id from the
        // dead letter that the same event had in the old stream, and has then dropped this publish.
        if receipt.is_duplicate() && !self.is_of(letter, &receipt).await {
            let second = format!("{message_id}:{}", header::digest(origin(letter).as_bytes()));
            return self.publisher.publish(outgoing(letter, payload, second)?).await.map_err(failed);
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

    async fn payload_of(&self, letter: &DeadLetter) -> Result<Bytes, DeadLetterError> {
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

/// Returns what identifies the event: its key, or the digest of its bytes where it has no key that could be trusted.
fn key(letter: &DeadLetter, payload: &[u8]) -> String {
    match <Envelope>::decode(letter.subject(), payload) {
        Ok(envelope) => envelope.idempotency_key().to_string(),
        Err(_) => header::digest(payload),
    }
}

/// Returns what identifies the dead letter in any dead-letter stream: no consumer gives up a delivery twice.
fn origin(letter: &DeadLetter) -> String {
    format!("{}:{}:{}", letter.stream(), letter.stream_sequence(), letter.consumer())
}

fn outgoing(letter: &DeadLetter, payload: Bytes, message_id: String) -> Result<Outgoing, DeadLetterError> {
    let address = Address::parse(letter.subject())
        .filter(|address| {
            address.domain.parse::<Domain>().is_ok() && address.event_type.parse::<EventType>().is_ok()
        })
        .ok_or_else(|| DeadLetterError::new(DeadLetterErrorKind::NotRedrivable, Some(letter.sequence())))?;
    let mut headers: HeaderMap = header::of_event(letter.headers());
    header::set(&mut headers, header::REDRIVEN, &origin(letter));
    Ok(Outgoing::new(address.strat_subject(), message_id, headers, payload))
}
