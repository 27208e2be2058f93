#![doc = include_str!("docs/overview.md")]

pub mod docs;

// The contract.
mod consumer_name;
mod domain;
mod envelope;
mod event;
mod fingerprint;
mod idempotency;
mod source;
mod stored;
mod subject;
mod uri;
mod value;

// Publishing.
mod bridge;
mod connection_watch;
#[cfg(all(feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
pub mod outbox;
mod publish;

// Consuming.
mod ack_subject;
mod consumer;
pub mod dead_letter;

// Stores.
pub mod dedupe;

// Around.
mod account_limit;
mod connection_log;
mod error_kind;
mod jitter;
mod log_limit;
mod report;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql_error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql_schema;
mod status;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod table_name;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod topology;
mod trace_context;

pub use async_nats;
pub use bridge::EventBridge;
pub use connection_watch::ConnectionWatch;
pub use consumer::{
    ConsumeError, ConsumeErrorKind, ConsumeSummary, ConsumerBuilder, ConsumerMonitor, ConsumerOptions,
    ConsumerPhase, ConsumerStatus, Delivery, Drift, DurableConsumer, HandlerError, Order,
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
pub use status::{BridgeStatus, StreamState, StreamStatus};
pub use subject::Feed;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use table_name::TableName;
pub use uri::{ResourceUri, UnitUri};
pub use value::ParseError;
