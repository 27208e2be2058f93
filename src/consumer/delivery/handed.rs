//! The delivery that a handler receives.

use crate::{
    contract::{
        envelope::Envelope,
        event::{AnyEvent, Event},
        subject::Feed,
    },
    dedupe::{Fence, Grant, Slot},
};

/// An event that was delivered to this consumer and claimed by it.
#[derive(Debug, Clone)]
pub struct Delivery<E> {
    pub(crate) envelope: Envelope<E>,
    pub(crate) attempt: u32,
    pub(crate) sequence: u64,
    pub(crate) feed: Feed,
    pub(crate) slot: Slot,
    pub(crate) fence: Fence,
}

impl<E: Event> Delivery<E> {
    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> &E {
        self.envelope.event()
    }

    /// Returns the event alone, without cloning it.
    #[must_use]
    pub fn into_event(self) -> E {
        self.envelope.into_event()
    }

    /// Returns the event with its source, its time and its key.
    #[must_use]
    pub fn envelope(&self) -> &Envelope<E> {
        &self.envelope
    }

    /// Returns the envelope alone, without cloning it.
    #[must_use]
    pub fn into_envelope(self) -> Envelope<E> {
        self.envelope
    }

    /// Returns the subject that the event was delivered on: `strat.{domain}.{event-type}`, or that of
    /// [`Feed::Choco`](crate::Feed::Choco).
    #[must_use]
    pub fn subject(&self) -> String {
        self.feed.subject(self.envelope.domain(), self.envelope.event_type())
    }

    /// Returns the number of this attempt, counted by the dedupe store; the first is 1.
    ///
    /// An attempt that killed its process has been counted; a delivery that never reached a handler has not.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the sequence of the event in the stream that delivered it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the slot that is claimed: this consumer and this event.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Returns the fence of the claim. An effect that checks it cannot be made by a worker that lost its claim.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }
}

impl Delivery<AnyEvent> {
    pub(crate) fn narrow<E: Event>(self) -> Option<Delivery<E>> {
        let Self { envelope, attempt, sequence, feed, slot, fence } = self;
        Some(Delivery { envelope: envelope.narrow()?, attempt, sequence, feed, slot, fence })
    }
}

impl<E> From<&Delivery<E>> for Grant {
    fn from(delivery: &Delivery<E>) -> Self {
        Self::new(delivery.slot.clone(), delivery.fence)
    }
}
