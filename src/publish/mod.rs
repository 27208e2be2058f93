//! Publishing: one message, stored by the stream or refused for a stated reason, within a bounded time.

mod attempt;
mod error;
mod options;
mod receipt;
mod suppression;

pub(crate) use attempt::{Begun, Publisher};
pub use error::{PublishError, PublishErrorKind};
pub use options::BridgeOptions;
pub use receipt::PublishReceipt;

use crate::idempotency::IdempotencyKey;
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use bytes::Bytes;

/// A message as it goes to the broker. It carries a `Nats-Msg-Id`, or repeating it would store it twice.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// An encoded envelope.
    pub(crate) fn event(subject: String, key: IdempotencyKey, payload: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, key.to_string());
        headers.insert("Content-Type", "application/json");
        Self { subject, headers, payload: payload.into() }
    }
}
