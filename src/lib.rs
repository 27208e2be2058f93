//! STRATT event bridge.

mod consumer_name;
pub mod dedupe;
mod domain;
mod event;
mod fingerprint;
mod idempotency;
mod source;
#[cfg(feature = "testing")]
pub mod testing;
mod uri;
mod value;

pub use consumer_name::ConsumerName;
pub use domain::Domain;
pub use event::{
    AnyEvent, ChainGateFired, ChainGateResolved, Event, EventType, GateName, GateOutcome, Identity,
    Occurrence, RunId, UnitDeprecated, UnitFingerprintVerified, UnitImportResolved, UnitPublished,
    UnitTampered,
};
pub use fingerprint::Fingerprint;
pub use idempotency::IdempotencyKey;
pub use source::Source;
pub use uri::{ResourceUri, UnitUri};
pub use value::ParseError;
