//! What is claimed.

use crate::contract::{consumer_name::ConsumerName, event::key::IdempotencyKey};
use std::hash::{Hash, Hasher};
use uuid::Uuid;

/// What is claimed: one event for one consumer. Two consumers that share a store each get the event.
///
/// A slot also carries its *claimant*: a random id made by [`Slot::new`] and kept by `clone`. It is how a store
/// recognises a claim that is repeated because the answer to it was lost, and it is no part of what is compared. A
/// delivery makes one slot and repeats its claim with it; two deliveries of one event are two claimants.
#[derive(Debug, Clone)]
pub struct Slot {
    consumer: ConsumerName,
    key: IdempotencyKey,
    claimant: Uuid,
}

impl Slot {
    /// The slot of an event for a consumer, with a new claimant.
    #[must_use]
    pub fn new(consumer: ConsumerName, key: IdempotencyKey) -> Self {
        Self { consumer, key, claimant: Uuid::new_v4() }
    }

    /// The consumer.
    #[must_use]
    pub fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// The key of the event.
    #[must_use]
    pub fn key(&self) -> IdempotencyKey {
        self.key
    }

    /// Who claims.
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
