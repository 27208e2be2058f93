//! Publishing: one message, stored by the stream or refused for a stated reason, within a bounded time.

mod answer;
mod ask;
mod attempt;
mod batch;
mod cloud_event;
mod error;
mod fact;
mod failure;
mod flight;
mod options;
mod pipeline;
mod receipt;
mod suppression;

pub(crate) use attempt::Publisher;
pub use error::{PublishError, PublishErrorKind};
pub(crate) use fact::Fact;
pub use options::BridgeOptions;
pub(crate) use pipeline::pipelined;
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
