//! The seven events, and what they have in common.

mod any;
mod chain;
mod event_type;
mod identity;
pub(crate) mod key;
mod unit;

pub use any::AnyEvent;
pub use chain::{ChainGateFired, ChainGateResolved, GateName, GateOutcome, RunId};
pub use event_type::EventType;
pub use identity::{Identity, Occurrence};
pub use unit::{UnitDeprecated, UnitFingerprintVerified, UnitImportResolved, UnitPublished, UnitTampered};

use crate::contract::{event::key::IdempotencyKey, fingerprint::Fingerprint, uri::UnitUri};
use serde::Serialize;
use std::fmt::Debug;

/// A change of state that STRATT announces: one of the seven event structs, or [`AnyEvent`] for all of them.
///
/// The trait is sealed: what may be announced is fixed by the wire contract.
pub trait Event: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static + sealed::Sealed {
    /// The event types that a value of this type can have.
    const TYPES: &'static [EventType];

    /// Returns the type of this event.
    fn event_type(&self) -> EventType;

    /// Returns the unit or chain that changed: its domain is the event's domain, and its events are handled in order.
    fn unit_uri(&self) -> &UnitUri;

    /// Returns the identity that distinguishes this fact from others of the same type and fingerprint.
    fn identity(&self) -> Identity<'_>;

    /// Returns the fingerprint that is part of the fact.
    fn fingerprint(&self) -> &Fingerprint;

    /// Returns the idempotency key of this fact.
    fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey::compute(self.event_type(), self.identity(), self.fingerprint())
    }
}

pub(crate) mod sealed {
    use super::{AnyEvent, EventType};

    pub trait Sealed: Sized + Into<AnyEvent> {
        /// Reads the payload of an event of this type.
        fn from_payload(event_type: EventType, payload: &str) -> Result<Self, serde_json::Error>;

        /// Returns the event as this type, or `None` if it is of another.
        fn from_any(event: AnyEvent) -> Option<Self>;
    }
}

/// Implements [`Event`] for a struct of one type, given the fields that make its identity.
macro_rules! event {
    ($name:ident, $unit_uri:ident, $fingerprint:ident, $identity:expr) => {
        impl $crate::contract::event::Event for $name {
            const TYPES: &'static [$crate::contract::event::EventType] =
                &[$crate::contract::event::EventType::$name];

            fn event_type(&self) -> $crate::contract::event::EventType {
                $crate::contract::event::EventType::$name
            }

            fn unit_uri(&self) -> &$crate::contract::uri::UnitUri {
                &self.$unit_uri
            }

            fn identity(&self) -> $crate::contract::event::Identity<'_> {
                let identity: for<'a> fn(&'a Self) -> $crate::contract::event::Identity<'a> = $identity;
                identity(self)
            }

            fn fingerprint(&self) -> &$crate::contract::fingerprint::Fingerprint {
                &self.$fingerprint
            }
        }

        impl $crate::contract::event::sealed::Sealed for $name {
            fn from_payload(
                _: $crate::contract::event::EventType,
                payload: &str,
            ) -> Result<Self, serde_json::Error> {
                serde_json::from_str(payload)
            }

            fn from_any(event: $crate::contract::event::AnyEvent) -> Option<Self> {
                match event {
                    $crate::contract::event::AnyEvent::$name(event) => Some(event),
                    _ => None,
                }
            }
        }

        impl From<$name> for $crate::contract::event::AnyEvent {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        }
    };
}

/// Setters for optional free-text fields, in the style of a builder.
macro_rules! text_setters {
    ($($setter:ident => $field:ident: $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[must_use]
            pub fn $setter(mut self, $field: impl Into<String>) -> Self {
                self.$field = Some($field.into());
                self
            }
        )*
    };
}

pub(crate) use {event, text_setters};
