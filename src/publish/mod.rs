//! Publishing: a message is stored by the stream, or fails for a stated reason, within a bounded time.

mod attempt;
mod batch;
mod cloud_event;
mod encoded_event;
mod error;
mod flight;
mod meter;
mod options;
mod pipeline;
mod publisher;
mod receipt;
mod span;
mod verify_duplicate;

pub(crate) use attempt::outgoing::Outgoing;
pub(crate) use batch::MAX_BATCH;
pub(crate) use encoded_event::EncodedEvent;
pub use error::{PublishError, PublishErrorKind};
pub use options::BridgeOptions;
pub(crate) use pipeline::pipelined;
pub(crate) use publisher::Publisher;
pub use receipt::PublishReceipt;
