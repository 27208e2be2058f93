//! The names of the seven events.

use crate::contract::value::{ParseError, text_traits};
use std::str::FromStr;

/// The type of an event, as it stands in subjects and envelopes.
///
/// Later minor versions of the contract may add types, so a `match` needs a wildcard arm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// `unit.published`
    UnitPublished,
    /// `unit.deprecated`
    UnitDeprecated,
    /// `unit.tampered`
    UnitTampered,
    /// `unit.fingerprint.verified`
    UnitFingerprintVerified,
    /// `unit.import.resolved`
    UnitImportResolved,
    /// `chain.gate.fired`
    ChainGateFired,
    /// `chain.gate.resolved`
    ChainGateResolved,
}

impl EventType {
    /// All seven, in the order of the contract.
    pub const ALL: &'static [Self] = &[
        Self::UnitPublished,
        Self::UnitDeprecated,
        Self::UnitTampered,
        Self::UnitFingerprintVerified,
        Self::UnitImportResolved,
        Self::ChainGateFired,
        Self::ChainGateResolved,
    ];

    /// Returns the name on the wire, such as `unit.published`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::UnitPublished => "unit.published",
            Self::UnitDeprecated => "unit.deprecated",
            Self::UnitTampered => "unit.tampered",
            Self::UnitFingerprintVerified => "unit.fingerprint.verified",
            Self::UnitImportResolved => "unit.import.resolved",
            Self::ChainGateFired => "chain.gate.fired",
            Self::ChainGateResolved => "chain.gate.resolved",
        }
    }
}

impl FromStr for EventType {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|event_type| event_type.as_str() == text)
            .ok_or_else(|| ParseError::new("event type", "must be one of the seven of the contract", text))
    }
}

text_traits!(EventType);
