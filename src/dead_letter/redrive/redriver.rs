//! Redriving dead letters one after the other.

use crate::{
    contract::{envelope::Envelope, event::Event},
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetters,
        redrive::{newer::Newer, recipient::Recipient, release::Heads},
        unit_letters::is_parked,
    },
    publish::PublishReceipt,
};
use std::collections::HashSet;

/// A dead letter that is to be redriven, without its bytes.
#[derive(Debug)]
pub(super) struct Target {
    /// Its own sequence.
    pub(super) sequence: u64,
    stream: String,
    original: u64,
    /// The unit of its event; `None` if that is not valid, or not stored here.
    unit: Option<String>,
}

impl Target {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        Self {
            sequence: letter.sequence(),
            stream: letter.stream().to_owned(),
            original: letter.original_sequence(),
            unit: letter.envelope().ok().map(|envelope| envelope.event().unit_uri().to_string()),
        }
    }

    /// Returns the key by which targets are sorted: in the order of their events.
    pub(super) fn order(&self) -> impl Ord + '_ {
        (&self.stream, self.original, self.sequence)
    }
}

/// A run of redrives, which remembers what it has checked.
#[derive(Debug)]
pub(super) struct Redriver {
    dead_letters: DeadLetters,
    newer: Newer,
    heads: Heads,
    /// The subjects whose consumer was checked.
    checked: HashSet<String>,
}

impl Redriver {
    pub(super) fn new<'a>(dead_letters: DeadLetters, targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let units = targets.into_iter().filter_map(|target| target.unit.clone());
        let newer = Newer::of(dead_letters.context.clone(), units);
        Self { dead_letters, newer, heads: Heads::default(), checked: HashSet::new() }
    }

    pub(super) async fn redrive(
        &mut self,
        sequence: u64,
    ) -> Result<(PublishReceipt, Recipient), DeadLetterError> {
        let letter = self.dead_letters.get(sequence).await?;
        self.redrive_letter(&letter).await
    }

    pub(super) async fn redrive_letter(
        &mut self,
        letter: &DeadLetter,
    ) -> Result<(PublishReceipt, Recipient), DeadLetterError> {
        let (options, sequence) = (self.dead_letters.redrive_options, letter.sequence());
        let recipient = Recipient::of(letter)
            .ok_or_else(|| DeadLetterError::new(DeadLetterErrorKind::NotRedrivable, Some(sequence)))?;
        let payload = self.dead_letters.payload_of(letter).await?;
        let subject = recipient.subject();
        if !options.is_unchecked && !self.checked.contains(&subject) {
            recipient.check(&self.dead_letters.context, sequence).await?;
            self.checked.insert(subject.clone());
        }
        // What is not valid is of no unit.
        let envelope = <Envelope>::decode(letter.subject(), &payload).ok();
        if let Some(unit) = letter.unit() {
            self.heads.check(&self.dead_letters.context, letter, &recipient.domain, unit).await?;
        }
        // Nothing newer of a unit was handled while it is blocked. It was not while a redrive was withdrawn.
        let is_blocking = letter.unit().is_some() && !(is_parked(letter) && letter.is_redriven());
        if !options.takes_back
            && !is_blocking
            && let Some(envelope) = &envelope
        {
            self.newer.check(letter, &recipient, envelope.event().unit_uri().as_str()).await?;
        }
        let key = envelope.map(|envelope| envelope.idempotency_key());
        let receipt = self.dead_letters.publish(letter, &subject, payload, key, None).await?;
        if letter.unit().is_some() {
            tracing::info!(
                dead_letter = sequence,
                subject,
                "dead letter is redriven, and stays until it is handled"
            );
            return Ok((receipt, recipient));
        }
        match self.dead_letters.remove(sequence, false).await {
            // Another process redrove it at the same time, with the same message id.
            Err(error) if error.kind() == DeadLetterErrorKind::NotFound => {}
            discarded => discarded?,
        }
        tracing::info!(dead_letter = sequence, subject, "dead letter is redriven");
        Ok((receipt, recipient))
    }
}
