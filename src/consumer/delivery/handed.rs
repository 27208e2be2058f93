//! The delivery that a handler receives.

use crate::{
    contract::{
        envelope::Envelope,
        epoch::Epoch,
        event::{AnyEvent, Event},
        subject::Feed,
    },
    dedupe::{Fence, Grant, Slot},
};
use std::time::Duration;
use tokio::time::Instant;

/// An event that was delivered to this consumer and claimed by it.
#[derive(Debug, Clone)]
pub struct Delivery<E> {
    pub(crate) envelope: Envelope<E>,
    pub(crate) attempt: u32,
    pub(crate) sequence: u64,
    pub(crate) feed: Feed,
    pub(crate) is_redriven: bool,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) slot: Slot,
    pub(crate) fence: Fence,
    /// The end of its processing timeout.
    pub(crate) ends_at: Instant,
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

    /// Returns the subject that the event was delivered on: `strat.{domain}.{event-type}`, or
    /// `stratt.redrive.{consumer}.{domain}.{event-type}` if it [is redriven](Self::is_redriven), or those of
    /// [`Feed::Choco`](crate::Feed::Choco).
    #[must_use]
    pub fn subject(&self) -> String {
        let (domain, event_type) = (self.envelope.domain(), self.envelope.event_type());
        if self.is_redriven {
            self.feed.redrive_filter(self.slot.consumer(), Some(domain), event_type)
        } else {
            self.feed.subject(domain, event_type)
        }
    }

    /// Returns whether the event was published again for this consumer, after it was dead-lettered or for a
    /// [replay](Self::epoch): its sequence is not that of the event as it was published, and events that were published
    /// later may have been handled before.
    #[must_use]
    pub fn is_redriven(&self) -> bool {
        self.is_redriven
    }

    /// Returns the epoch of the [replay](crate::durables::Durables::replay) that the event is part of; `None` if it is
    /// not replayed.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Returns the number of this attempt, counted by the dedupe store; the first is 1.
    ///
    /// Failures count, and so does an attempt that killed its process. Not counted are deliveries that never reached a
    /// handler, deferred attempts, and the first two that ended with their process: others ran beside them, and any of
    /// those may have killed it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the sequence of the event in the stream that delivered it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns how long the handler may still run: until the end of the
    /// [processing timeout](crate::ConsumerOptions::with_processing_timeout). Nothing extends it.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.ends_at.saturating_duration_since(Instant::now())
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
        let Self { envelope, attempt, sequence, feed, is_redriven, epoch, slot, fence, ends_at } = self;
        let envelope = envelope.narrow()?;
        Some(Delivery { envelope, attempt, sequence, feed, is_redriven, epoch, slot, fence, ends_at })
    }
}

impl<E> From<&Delivery<E>> for Grant {
    fn from(delivery: &Delivery<E>) -> Self {
        Self::new(delivery.slot.clone(), delivery.fence)
    }
}
