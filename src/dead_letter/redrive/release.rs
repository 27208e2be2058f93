//! Redriving the dead letters of a unit one after the other, for a consumer that parks.

use crate::{
    contract::{domain::Domain, envelope::Envelope},
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetters,
        redrive::recipient::Recipient,
        unavailable,
        unit_letters::{Entry, UnitLetters, is_parked},
    },
    nats::api_context::ApiContext,
    publish::PublishReceipt,
};
use std::collections::HashMap;

impl DeadLetters {
    /// Publishes the event of a dead letter that is the head of its unit, or will be once that `after` which it is
    /// parked is removed.
    pub(in crate::dead_letter) async fn release(
        &self,
        letter: &DeadLetter,
        after: Option<u64>,
    ) -> Result<PublishReceipt, DeadLetterError> {
        let recipient = Recipient::of(letter).ok_or_else(|| {
            DeadLetterError::new(DeadLetterErrorKind::NotRedrivable, Some(letter.sequence()))
        })?;
        let payload = self.payload_of(letter).await?;
        let envelope = <Envelope>::decode(letter.subject(), &payload).ok();
        let key = envelope.map(|envelope| envelope.idempotency_key());
        self.publish(letter, &recipient.subject(), payload, key, after).await
    }

    /// Returns the dead letter that is to be redriven once this head of a unit is discarded.
    pub(in crate::dead_letter) async fn parked_behind(
        &self,
        letter: &DeadLetter,
    ) -> Result<Option<DeadLetter>, DeadLetterError> {
        let Some(unit) = letter.unit() else { return Ok(None) };
        let (stream, consumer, domain) = (letter.stream(), letter.consumer(), letter.domain());
        let letters = UnitLetters::read(&self.context, stream, consumer, domain).await;
        let letters = letters.map_err(|error| unavailable(Some(letter.sequence()), error))?;
        let original = letter.original_sequence();
        let of_event = letters.of_event(unit, original);
        let is_head = letters.head(unit).is_some_and(|head| head.original == original);
        match letters.behind(unit, original).filter(|_| is_head && of_event.len() == 1) {
            Some(next) => Ok(self.find(next.sequence).await?.filter(is_parked)),
            None => Ok(None),
        }
    }
}

/// The heads of units, read once for each consumer, feed and domain.
#[derive(Debug, Default)]
pub(super) struct Heads(HashMap<(String, String, Domain), UnitLetters>);

impl Heads {
    /// Fails unless `letter` is the head of its unit.
    pub(super) async fn check(
        &mut self,
        context: &ApiContext,
        letter: &DeadLetter,
        domain: &Domain,
        unit: &str,
    ) -> Result<(), DeadLetterError> {
        let place = (letter.consumer().to_owned(), letter.stream().to_owned(), domain.clone());
        let letters = match self.0.entry(place) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let (consumer, stream, domain) = unknown.key();
                let read = UnitLetters::read(context, stream, consumer, domain.as_str()).await;
                unknown.insert(read.map_err(|error| unavailable(Some(letter.sequence()), error))?)
            }
        };
        let before = letters.head(unit).filter(|head: &Entry| head.original < letter.original_sequence());
        let Some(head) = before else { return Ok(()) };
        let cause =
            format!("dead letter {} is the head of {unit}: redrive or discard that one", head.sequence);
        Err(DeadLetterError::new(DeadLetterErrorKind::Parked, Some(letter.sequence())).caused_by(cause))
    }
}
