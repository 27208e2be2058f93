#![doc = include_str!("docs/overview.md")]

pub mod docs;

mod contract;
mod error_kind;
mod jitter;
mod nats;
mod report;
mod telemetry;

pub mod dedupe;
mod publish;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
pub mod topology;

mod bridge;
mod consumer;
pub mod dead_letter;
pub mod durables;
pub mod explain;
mod link;
pub mod watch;

pub mod acl;
#[cfg(feature = "console")]
pub mod console;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod outbox;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "testing")]
pub mod testing;

pub use async_nats;
pub use bridge::EventBridge;
pub use consumer::{
    BatchOptions, BreakerCause, CircuitBreaker, ConsumeError, ConsumeErrorKind, ConsumeSummary,
    ConsumerBuilder, ConsumerMonitor, ConsumerOptions, ConsumerPhase, ConsumerStatus, Delivery,
    DurableConsumer, HandlerError, OnMismatch, OpenBreaker, Order, StartAt,
};
pub use contract::consumer_name::ConsumerName;
pub use contract::domain::Domain;
pub use contract::envelope::{
    DecodeError, DecodeErrorKind, EncodeError, Envelope, EnvelopeBuildError, EnvelopeBuilder, EventVersion,
    Meta,
};
pub use contract::event::key::IdempotencyKey;
pub use contract::event::{
    AnyEvent, ChainGateFired, ChainGateResolved, Event, EventType, GateName, GateOutcome, Identity,
    Occurrence, RunId, UnitDeprecated, UnitFingerprintVerified, UnitImportResolved, UnitPublished,
    UnitTampered,
};
pub use contract::fingerprint::Fingerprint;
pub use contract::source::Source;
pub use contract::subject::Feed;
pub use contract::uri::{ResourceUri, UnitUri};
pub use contract::value::ParseError;
pub use nats::api::{ApiPrefix, JetStreamDomain};
pub use nats::connection_watch::ConnectionWatch;
pub use publish::{BridgeOptions, PublishError, PublishErrorKind, PublishReceipt};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::table_name::TableName;
pub use topology::status::{BridgeStatus, StreamState, StreamStatus};
