//! A message on its way to the broker.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use bytes::Bytes;

/// A message as it is sent. It has a message id, without which a repeat would be stored a second time.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) message_id: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// Returns a message whose headers are those given and its message id.
    pub(crate) fn new(subject: String, message_id: String, mut headers: HeaderMap, payload: Bytes) -> Self {
        headers.insert(NATS_MESSAGE_ID, message_id.as_str());
        Self { subject, message_id, headers, payload }
    }
}
