//! The unit of a claim.

use crate::contract::{consumer_name::ConsumerName, epoch::Epoch, event::key::IdempotencyKey};
use std::hash::{Hash, Hasher};
use uuid::Uuid;

/// The unit of a claim: one event for one consumer. Two consumers that share a store each handle the event.
///
/// A slot also carries its *claimant*: a random id made by [`Slot::new`] and kept by `clone`. By it a store recognises
/// a claim that is repeated because its answer was lost. It is not compared. A delivery makes one slot and repeats its
/// claim with it; two deliveries of one event are two claimants.
#[derive(Debug, Clone)]
pub struct Slot {
    consumer: ConsumerName,
    key: IdempotencyKey,
    claimant: Uuid,
}

impl Slot {
    /// Returns the slot of an event for a consumer, with a new claimant.
    #[must_use]
    pub fn new(consumer: ConsumerName, key: IdempotencyKey) -> Self {
        Self { consumer, key, claimant: Uuid::new_v4() }
    }

    /// Returns the slot of an event that is replayed: another one in each epoch, so that an event that was handled is
    /// handled again.
    #[must_use]
    pub fn replayed(consumer: ConsumerName, key: IdempotencyKey, epoch: Epoch) -> Self {
        Self::new(consumer, key.in_epoch(epoch))
    }

    /// Returns the consumer.
    #[must_use]
    pub fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Returns the key of the event, or a hash of it and the epoch if the event is [replayed](Self::replayed).
    #[must_use]
    pub fn key(&self) -> IdempotencyKey {
        self.key
    }

    /// Returns the id of the claimant.
    #[must_use]
    pub fn claimant(&self) -> Uuid {
        self.claimant
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.consumer == other.consumer
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.consumer.hash(state);
    }
}
