//! STRATT event bridge.

mod bridge;
mod consumer;
mod consumer_name;
pub mod dead_letter;
pub mod dedupe;
mod domain;
mod envelope;
mod event;
mod fingerprint;
mod idempotency;
mod jitter;
mod publish;
mod source;
mod subject;
#[cfg(feature = "testing")]
pub mod testing;
pub mod topology;
mod uri;
mod value;

pub use async_nats;
pub use bridge::EventBridge;
pub use consumer::{
    ConsumeError, ConsumeErrorKind, ConsumeSummary, ConsumerBuilder, ConsumerOptions, Delivery,
    DurableConsumer, HandlerError,
};
pub use consumer_name::ConsumerName;
pub use domain::Domain;
pub use envelope::{
    BuildError, DecodeError, DecodeErrorKind, EncodeError, Envelope, EnvelopeBuilder, EventVersion, Meta,
};
pub use event::{
    AnyEvent, ChainGateFired, ChainGateResolved, Event, EventType, GateName, GateOutcome, Identity,
    Occurrence, RunId, UnitDeprecated, UnitFingerprintVerified, UnitImportResolved, UnitPublished,
    UnitTampered,
};
pub use fingerprint::Fingerprint;
pub use idempotency::IdempotencyKey;
pub use publish::{BridgeOptions, PublishError, PublishErrorKind, PublishReceipt};
pub use source::Source;
pub use subject::Feed;
pub use uri::{ResourceUri, UnitUri};
pub use value::ParseError;
