//! What a handler is given.

use crate::{
    contract::{
        envelope::Envelope,
        event::{AnyEvent, Event},
    },
    dedupe::{Fence, Grant, Slot},
};

/// An event that was delivered to this consumer and claimed by it.
#[derive(Debug, Clone)]
pub struct Delivery<E> {
    pub(crate) envelope: Envelope<E>,
    pub(crate) attempt: u32,
    pub(crate) sequence: u64,
    pub(crate) slot: Slot,
    pub(crate) fence: Fence,
}

impl<E: Event> Delivery<E> {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &E {
        self.envelope.event()
    }

    /// The event with who announced it, when, and its key.
    #[must_use]
    pub fn envelope(&self) -> &Envelope<E> {
        &self.envelope
    }

    /// Which attempt this is, counted by the dedupe store; the first is 1.
    ///
    /// An attempt that killed its process has been counted; a delivery that never reached a handler has not.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The sequence of the event in the stream it was delivered from.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What is claimed: this consumer and this event.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// What the claim is fenced by. An effect that checks it cannot be made by a worker that lost its claim.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }
}

impl Delivery<AnyEvent> {
    pub(crate) fn narrow<E: Event>(self) -> Option<Delivery<E>> {
        let Self { envelope, attempt, sequence, slot, fence } = self;
        Some(Delivery { envelope: envelope.narrow()?, attempt, sequence, slot, fence })
    }
}

impl<E> From<&Delivery<E>> for Grant {
    fn from(delivery: &Delivery<E>) -> Self {
        Self::new(delivery.slot.clone(), delivery.fence)
    }
}
