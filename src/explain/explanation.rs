//! An explanation.

use crate::{
    contract::event::key::IdempotencyKey,
    dead_letter::DeadLetter,
    explain::{Place, Way},
};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// The way of one event: where it is, and what became of it. Its parts were read one after the other while events flow.
///
/// `Display` is several lines for people; the names in JSON are stable.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub(super) key: IdempotencyKey,
    pub(super) stored: Vec<Place>,
    pub(super) forwarded: Vec<Place>,
    pub(super) ways: Vec<Way>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) redrives: Vec<Place>,
}

impl Explanation {
    /// Returns the key of the event.
    #[must_use]
    pub fn key(&self) -> IdempotencyKey {
        self.key
    }

    /// Returns where it is stored; more than one place if it was published again after the duplicate window.
    #[must_use]
    pub fn stored(&self) -> &[Place] {
        &self.stored
    }

    /// Returns where it was forwarded to Choco.
    #[must_use]
    pub fn forwarded(&self) -> &[Place] {
        &self.forwarded
    }

    /// Returns how far each durable is that reads it, for each place.
    #[must_use]
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// Returns its dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &[DeadLetter] {
        &self.dead_letters
    }

    /// Returns where it was redriven.
    #[must_use]
    pub fn redrives(&self) -> &[Place] {
        &self.redrives
    }

    /// Returns whether nothing is known of it: it was never published, or is gone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let places = [&self.stored, &self.forwarded, &self.redrives];
        places.iter().all(|places| places.is_empty()) && self.dead_letters.is_empty()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key         {}", self.key)?;
        for (what, places) in [("stored", &self.stored), ("forwarded", &self.forwarded)] {
            if places.is_empty() {
                writeln!(f, "{what:<11} not, or not any more")?;
            }
            for place in places {
                writeln!(f, "{what:<11} {place}")?;
            }
        }
        for way in &self.ways {
            writeln!(f, "durable     {way}")?;
        }
        for letter in &self.dead_letters {
            let reason = letter.reason().map_or("-", |reason| reason.as_str());
            let (sequence, consumer) = (letter.sequence(), letter.consumer());
            writeln!(f, "dead letter {sequence} of {consumer}: {reason}: {}", letter.error())?;
        }
        for redrive in &self.redrives {
            writeln!(f, "redriven    {redrive} on {}", redrive.subject())?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct SerializedLetter<'a> {
    sequence: u64,
    consumer: &'a str,
    reason: Option<&'static str>,
    error: &'a str,
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letters = self.dead_letters.iter().map(|letter| SerializedLetter {
            sequence: letter.sequence(),
            consumer: letter.consumer(),
            reason: letter.reason().map(|reason| reason.as_str()),
            error: letter.error(),
        });
        let mut fields = serializer.serialize_struct("Explanation", 6)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("stored", &self.stored)?;
        fields.serialize_field("forwarded", &self.forwarded)?;
        fields.serialize_field("durables", &self.ways)?;
        fields.serialize_field("deadLetters", &letters.collect::<Vec<_>>())?;
        fields.serialize_field("redrives", &self.redrives)?;
        fields.end()
    }
}
