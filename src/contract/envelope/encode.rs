//! Writing an envelope.

use crate::contract::{envelope::Envelope, event::Event};
use uuid::Uuid;

/// About the size of an envelope without `meta`, so that writing one needs a single allocation.
const USUAL_BYTES: usize = 768;

impl<E: Event> Envelope<E> {
    /// Returns the envelope as UTF-8 JSON, in the version of the contract that this crate writes.
    ///
    /// # Errors
    ///
    /// None that a valid envelope is known to cause; the writer's error is passed on rather than hidden.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES + self.meta.as_json().len());
        let mut id = Uuid::encode_buffer();
        let id = self.event_id.hyphenated().encode_lower(&mut id);
        // No rule of these values lets through what JSON would escape, and looking for it takes longer than the rest.
        let mut put = |name: &str, value: &str| {
            for part in [name, value] {
                bytes.extend_from_slice(part.as_bytes());
            }
        };
        put("{\"eventId\":\"", id);
        put("\",\"eventType\":\"", self.event_type().as_str());
        put("\",\"eventVersion\":\"1.0\",\"domain\":\"", self.domain().as_str());
        put("\",\"timestamp\":\"", &self.written_timestamp());
        self.idempotency_key.with_hex(|digits| put("\",\"idempotencyKey\":\"", digits));
        put("\",\"source\":\"", self.source.as_str());
        put("\",\"payload\":", "");
        serde_json::to_writer(&mut bytes, &self.event).map_err(EncodeError::new)?;
        for part in [",\"meta\":", self.meta.as_json(), "}"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        Ok(bytes)
    }
}

/// An envelope that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("envelope cannot be written as json")]
pub struct EncodeError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl EncodeError {
    fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}
