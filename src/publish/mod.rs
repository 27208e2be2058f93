//! Publishing: one message, stored by the stream or refused for a stated reason, within a bounded time.

mod answer;

mod batch;
mod cloud_event;
mod encoded_event;
mod error;
mod failure;
mod flight;
mod meter;
mod options;
mod pipeline;
mod publisher;
mod receipt;
mod request;
mod span;
mod verify_duplicate;

pub(crate) use encoded_event::EncodedEvent;
pub use error::{PublishError, PublishErrorKind};
pub use options::BridgeOptions;
pub(crate) use pipeline::pipelined;
pub(crate) use publisher::Publisher;
pub use receipt::PublishReceipt;

use async_nats::HeaderMap;
use bytes::Bytes;

/// A message as it goes to the broker. It carries a `Nats-Msg-Id`, or repeating it would store it twice.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}
