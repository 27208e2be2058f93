//! Writing a dead letter.

use crate::{
    contract::{envelope::timestamp, subject::dead_letter_subject},
    dead_letter::{DeadLetterReason, READ_WITHIN, header, meter::dead_lettered},
    publish::{Outgoing, PublishError, PublishErrorKind, PublishReceipt, Publisher},
    report::report,
    telemetry::{
        log_limit::{LogLimit, limited},
        span::{self, Delivered},
    },
};
use async_nats::HeaderMap;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::Instrument;

/// Servers take 64 KiB of headers. What this leaves is for those of the record, which take 5 KiB at most, and for the
/// trace context, which is added when the record is sent.
const MOST_HEADERS: usize = 56 * 1024;

/// A dead-letter record: all that is known of a message when it is dead-lettered.
#[derive(Debug)]
pub(crate) struct DeadLetterRecord<'a> {
    /// The name of any consumer: the server's rules for names are looser than those of
    /// [`ConsumerName`](crate::ConsumerName).
    pub(crate) consumer: &'a str,
    pub(crate) reason: DeadLetterReason,
    pub(crate) error: &'a str,
    pub(crate) deliveries: u64,
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
    pub(crate) subject: &'a str,
    pub(crate) headers: Headers<'a>,
    pub(crate) payload: &'a Bytes,
    /// The unit whose later events are parked behind this one, if the consumer parks.
    pub(crate) unit: Option<&'a str>,
    /// Where it is logged.
    pub(crate) lines: &'a LogLimit,
}

/// The headers of a message that is dead-lettered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Headers<'a> {
    None,
    Are(&'a HeaderMap),
    /// Headers that cannot be read, and so cannot be written.
    Unreadable {
        bytes: usize,
    },
}

impl Headers<'_> {
    fn size(self) -> usize {
        match self {
            Self::None => 0,
            Self::Are(headers) => header::size(headers),
            Self::Unreadable { bytes } => bytes,
        }
    }
}

impl<'a> From<Option<&'a HeaderMap>> for Headers<'a> {
    fn from(headers: Option<&'a HeaderMap>) -> Self {
        headers.map_or(Self::None, Self::Are)
    }
}

/// The parts that a record leaves out because they are too large for the broker, or cannot be written.
#[derive(Debug, Clone, Copy)]
struct LeftOut {
    headers: bool,
    payload: bool,
}

impl LeftOut {
    /// Returns what to leave out next: the larger of the two first, then both; `None` if nothing is left.
    fn more(self, headers: usize, payload: usize) -> Option<Self> {
        match (self.headers, self.payload) {
            (true, true) => None,
            (false, false) => Some(Self { headers: headers > payload, payload: headers <= payload }),
            _ => Some(Self { headers: true, payload: true }),
        }
    }
}

impl DeadLetterRecord<'_> {
    /// Stores the dead letter. Repeats within the duplicate window are dropped by the broker.
    pub(crate) async fn store(
        &self,
        publisher: &Publisher,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let consumer = header::printable(self.consumer);
        let message_id = format!("{}:{}:{consumer}", self.stream, self.sequence);
        let destination = dead_letter_subject(self.consumer, self.subject);
        let (stream, subject, sequence) = (self.stream, self.subject, self.sequence);
        let of = Delivered { consumer: &consumer, stream, subject, sequence };
        let span = span::dead_letter(of, &destination, &message_id, self.reason.as_str());
        let stored = self.store_by_id(&message_id, publisher, deadline).instrument(span.clone()).await;
        let receipt = stored.inspect_err(|error| span::failed(&span, error.kind().as_str()))?;
        dead_lettered(&consumer, self.reason);
        // The error of an invalid event may quote it, and the content of events is never logged: it is in the dead
        // letter.
        let error = (self.reason != DeadLetterReason::Invalid).then(|| header::printable(self.error));
        limited!(
            self.lines, warn, "event is dead-lettered",
            parent: &span,
            consumer,
            reason = %self.reason,
            stream,
            sequence,
            dead_letter = receipt.sequence(),
            error
        );
        Ok(receipt)
    }

    async fn store_by_id(
        &self,
        message_id: &str,
        publisher: &Publisher,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let receipt = self.store_as(message_id, publisher, deadline).await?;
        // A recreated stream counts from one again: the broker may know this message id from a dead letter of the old
        // stream, and has then dropped this one.
        if receipt.is_duplicate() && !self.is_held_by(&receipt, publisher, deadline).await {
            let content = header::digest(self.payload);
            return self.store_as(&format!("{message_id}:{content}"), publisher, deadline).await;
        }
        Ok(receipt)
    }

    /// Stores the record under this message id. Where the original headers, or headers and payload together, are too
    /// large for the broker, the record holds their size and their place instead.
    async fn store_as(
        &self,
        message_id: &str,
        publisher: &Publisher,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let (headers, payload) = (self.headers.size(), self.payload.len());
        let are_unreadable = matches!(self.headers, Headers::Unreadable { .. });
        let mut left_out = LeftOut { headers: are_unreadable || headers > MOST_HEADERS, payload: false };
        loop {
            let stored = publisher.publish_until(self.record(message_id, left_out), deadline).await;
            let is_too_large = stored.as_ref().is_err_and(|error| error.kind() == PublishErrorKind::TooLarge);
            match left_out.more(headers, payload).filter(|_| is_too_large) {
                Some(more) => left_out = more,
                None => return stored,
            }
        }
    }

    /// Returns whether the dead letter that the broker has holds this payload, or its digest. One that is gone, or
    /// that this user may not read, proves nothing: a second dead letter is better than none, or than waiting for it.
    async fn is_held_by(&self, receipt: &PublishReceipt, publisher: &Publisher, deadline: Instant) -> bool {
        match publisher.read_until(receipt, deadline.min(Instant::now() + READ_WITHIN)).await {
            Ok(stored) => {
                stored.is_some_and(|stored| match header::get(&stored.headers, header::PAYLOAD_DIGEST) {
                    Some(digest) => digest == header::digest(self.payload),
                    None => stored.payload == *self.payload,
                })
            }
            Err(error) => {
                limited!(
                    self.lines, warn, "dead letter that the broker has cannot be read back, and may be stored a second time",
                    dead_letter = receipt.sequence(),
                    error = %report(&error)
                );
                false
            }
        }
    }

    fn record(&self, message_id: &str, left_out: LeftOut) -> Outgoing {
        let mut headers = match self.headers {
            Headers::Are(original) if !left_out.headers => header::of_event(original),
            _ => HeaderMap::new(),
        };
        if left_out.headers {
            header::set(&mut headers, header::HEADERS_OMITTED, &self.headers.size().to_string());
        }
        if left_out.payload {
            header::set(&mut headers, header::PAYLOAD_OMITTED, &self.payload.len().to_string());
            header::set(&mut headers, header::PAYLOAD_DIGEST, &header::digest(self.payload));
        }
        if let Headers::Are(original) = self.headers
            && let Some(original) = header::get(original, header::ORIGINAL)
        {
            header::set(&mut headers, header::ORIGINAL, original);
        }
        if let Some(unit) = self.unit {
            header::set(&mut headers, header::UNIT, unit);
        }
        header::set(&mut headers, header::CONSUMER, self.consumer);
        header::set(&mut headers, header::REASON, self.reason.as_str());
        header::set(&mut headers, header::ERROR, self.error);
        header::set(&mut headers, header::DELIVERIES, &self.deliveries.to_string());
        header::set(&mut headers, header::STREAM, self.stream);
        header::set(&mut headers, header::SEQUENCE, &self.sequence.to_string());
        header::set(&mut headers, header::SUBJECT, self.subject);
        header::set(&mut headers, header::TIME, &timestamp::format(OffsetDateTime::now_utc()));
        let subject = dead_letter_subject(self.consumer, self.subject);
        let payload = if left_out.payload { Bytes::new() } else { self.payload.clone() };
        Outgoing::new(subject, message_id.to_owned(), headers, payload)
    }
}
