//! Any of the seven events.

use crate::contract::{
    event::{
        ChainGateFired, ChainGateResolved, Event, EventType, Identity, UnitDeprecated,
        UnitFingerprintVerified, UnitImportResolved, UnitPublished, UnitTampered, sealed,
    },
    fingerprint::Fingerprint,
    uri::UnitUri,
};
use serde::Serialize;

/// Any of the seven events.
///
/// A handler of `Delivery<AnyEvent>` receives them all; an [`Envelope`](crate::Envelope) holds one unless its
/// type is fixed. Later minor versions of the contract may add variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum AnyEvent {
    /// `unit.published`
    UnitPublished(UnitPublished),
    /// `unit.deprecated`
    UnitDeprecated(UnitDeprecated),
    /// `unit.tampered`
    UnitTampered(UnitTampered),
    /// `unit.fingerprint.verified`
    UnitFingerprintVerified(UnitFingerprintVerified),
    /// `unit.import.resolved`
    UnitImportResolved(UnitImportResolved),
    /// `chain.gate.fired`
    ChainGateFired(ChainGateFired),
    /// `chain.gate.resolved`
    ChainGateResolved(ChainGateResolved),
}

/// Applies an expression to the event inside, whichever it is.
macro_rules! inside {
    ($any:expr, $event:ident => $result:expr) => {
        match $any {
            AnyEvent::UnitPublished($event) => $result,
            AnyEvent::UnitDeprecated($event) => $result,
            AnyEvent::UnitTampered($event) => $result,
            AnyEvent::UnitFingerprintVerified($event) => $result,
            AnyEvent::UnitImportResolved($event) => $result,
            AnyEvent::ChainGateFired($event) => $result,
            AnyEvent::ChainGateResolved($event) => $result,
        }
    };
}

impl Event for AnyEvent {
    const TYPES: &'static [EventType] = EventType::ALL;

    fn event_type(&self) -> EventType {
        inside!(self, event => event.event_type())
    }

    fn unit_uri(&self) -> &UnitUri {
        inside!(self, event => event.unit_uri())
    }

    fn identity(&self) -> Identity<'_> {
        inside!(self, event => event.identity())
    }

    fn fingerprint(&self) -> &Fingerprint {
        inside!(self, event => event.fingerprint())
    }
}

impl sealed::Sealed for AnyEvent {
    fn from_payload(event_type: EventType, payload: &str) -> Result<Self, serde_json::Error> {
        Ok(match event_type {
            EventType::UnitPublished => Self::UnitPublished(serde_json::from_str(payload)?),
            EventType::UnitDeprecated => Self::UnitDeprecated(serde_json::from_str(payload)?),
            EventType::UnitTampered => Self::UnitTampered(serde_json::from_str(payload)?),
            EventType::UnitFingerprintVerified => {
                Self::UnitFingerprintVerified(serde_json::from_str(payload)?)
            }
            EventType::UnitImportResolved => Self::UnitImportResolved(serde_json::from_str(payload)?),
            EventType::ChainGateFired => Self::ChainGateFired(serde_json::from_str(payload)?),
            EventType::ChainGateResolved => Self::ChainGateResolved(serde_json::from_str(payload)?),
        })
    }

    fn from_any(event: AnyEvent) -> Option<Self> {
        Some(event)
    }
}
