//! Writing an envelope.

use super::{Envelope, EventVersion, timestamp};
use crate::{event::Event, idempotency::IdempotencyKey};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt;
use uuid::Uuid;

/// The envelope as it is written: the fields in the order of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a, E> {
    event_id: Uuid,
    event_type: &'static str,
    event_version: &'static str,
    domain: &'a str,
    timestamp: &'a str,
    idempotency_key: IdempotencyKey,
    source: &'a str,
    payload: &'a E,
    meta: &'a RawValue,
}

/// About the size of an envelope without `meta`, so that writing one needs a single allocation.
const USUAL_BYTES: usize = 768;

impl<E: Event> Envelope<E> {
    /// The envelope as UTF-8 JSON, in the version of the contract that this crate writes.
    ///
    /// # Errors
    ///
    /// None that a valid envelope is known to cause; the writer's error is passed on rather than hidden.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let written = Written {
            event_id: self.event_id,
            event_type: self.event_type().as_str(),
            event_version: "1.0",
            domain: self.domain().as_str(),
            timestamp: &timestamp::format(self.timestamp).map_err(EncodeError::new)?,
            idempotency_key: self.idempotency_key,
            source: self.source.as_str(),
            payload: &self.event,
            meta: self.meta.as_raw(),
        };
        debug_assert_eq!(EventVersion::CURRENT.to_string(), written.event_version);
        let mut bytes = Vec::with_capacity(USUAL_BYTES + self.meta.as_json().len());
        serde_json::to_writer(&mut bytes, &written).map_err(EncodeError::new)?;
        Ok(bytes)
    }
}

/// An envelope that could not be written.
#[derive(Debug)]
pub struct EncodeError(Box<dyn std::error::Error + Send + Sync>);

impl EncodeError {
    fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("envelope cannot be written as json")
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
