//! One dead letter as it is stored.

use crate::{
    contract::{
        envelope::{DecodeError, Envelope},
        subject::{Address, is_redriven},
    },
    dead_letter::{DeadLetterReason, header},
    nats::batch_get::Found,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One dead letter: the event that a consumer could not handle, byte for byte, and why.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    sequence: u64,
    headers: HeaderMap,
    payload: Bytes,
}

impl DeadLetter {
    pub(super) fn new(message: Found) -> Self {
        Self { sequence: message.sequence, headers: message.headers, payload: message.payload }
    }

    /// Returns its sequence in `STRATT_DLQ`, by which it is shown, redriven and discarded.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the consumer that could not handle the event.
    #[must_use]
    pub fn consumer(&self) -> &str {
        self.header(header::CONSUMER)
    }

    /// Returns the reason; `None` if the record does not follow this contract.
    #[must_use]
    pub fn reason(&self) -> Option<DeadLetterReason> {
        self.header(header::REASON).parse().ok()
    }

    /// Returns the last error, on one line.
    #[must_use]
    pub fn error(&self) -> &str {
        self.header(header::ERROR)
    }

    /// Returns how often the server had delivered the event.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.header(header::DELIVERIES).parse().unwrap_or_default()
    }

    /// Returns the stream the event was delivered from.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.header(header::STREAM)
    }

    /// Returns the event's sequence in that stream.
    #[must_use]
    pub fn stream_sequence(&self) -> u64 {
        self.header(header::SEQUENCE).parse().unwrap_or_default()
    }

    /// Returns the sequence of the event as it was published; that of [`stream_sequence`](Self::stream_sequence) unless
    /// it was [redriven](Self::is_redriven) before it was dead-lettered again.
    #[must_use]
    pub fn original_sequence(&self) -> u64 {
        // Publishers of events might set the header too.
        let original = header::get(&self.headers, header::ORIGINAL).filter(|_| self.is_redriven());
        original.and_then(|sequence| sequence.parse().ok()).unwrap_or_else(|| self.stream_sequence())
    }

    /// Returns whether the event had been redriven when it was dead-lettered.
    #[must_use]
    pub fn is_redriven(&self) -> bool {
        is_redriven(self.subject())
    }

    /// Returns the unit whose later events are parked behind this one; `None` if its consumer does not
    /// [park](crate::ConsumerOptions::with_parking).
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        header::get(&self.headers, header::UNIT)
    }

    /// Returns the subject the event was delivered by.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.header(header::SUBJECT)
    }

    /// Returns when it was dead-lettered; `None` if the record does not follow this contract.
    #[must_use]
    pub fn time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(self.header(header::TIME), &Rfc3339).ok()
    }

    /// Returns the domain that the subject names.
    #[must_use]
    pub fn domain(&self) -> &str {
        Address::parse(self.subject()).map_or("", |address| address.domain)
    }

    /// Returns the event type that the subject names.
    #[must_use]
    pub fn event_type(&self) -> &str {
        Address::parse(self.subject()).map_or("", |address| address.event_type)
    }

    /// Returns all headers of the record: those of the event, and those of the dead letter.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the original bytes; empty if [`is_payload_omitted`](Self::is_payload_omitted).
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns whether the payload was too large to be stored beside the headers. It is in the
    /// [`stream`](Self::stream) at [`stream_sequence`](Self::stream_sequence) for as long as it keeps them.
    #[must_use]
    pub fn is_payload_omitted(&self) -> bool {
        self.headers.get(header::PAYLOAD_OMITTED).is_some()
    }

    /// Returns the SHA-256 of an omitted payload; `None` if it is not omitted, or the record does not have its digest.
    pub(super) fn payload_digest(&self) -> Option<&str> {
        header::get(&self.headers, header::PAYLOAD_DIGEST)
    }

    /// Returns whether the headers of the event were too large to be stored, or could not be read. A redrive
    /// publishes the event without them.
    #[must_use]
    pub fn are_headers_omitted(&self) -> bool {
        self.headers.get(header::HEADERS_OMITTED).is_some()
    }

    /// Returns the event, if it is a valid one.
    ///
    /// # Errors
    ///
    /// When the event is not valid: the error that a consumer got when the reason is [`DeadLetterReason::Invalid`].
    pub fn envelope(&self) -> Result<Envelope, DecodeError> {
        Envelope::decode(self.subject(), &self.payload)
    }

    fn header(&self, name: &'static str) -> &str {
        header::get(&self.headers, name).unwrap_or_default()
    }
}
