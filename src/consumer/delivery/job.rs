//! A delivery between its arrival and its end.

use crate::{
    consumer::{
        delivery::{decide::Ending, in_progress::InProgress},
        receive::lanes::Lane,
        shared::Shared,
    },
    contract::{envelope::Envelope, epoch::Epoch, subject::is_redriven, value::ParseError},
    report::report,
    telemetry::{
        span::{self, Delivered},
        trace_context,
    },
};
use async_nats::{HeaderMap, Message, Subject};
use std::{borrow::Cow, time::Duration};
use tracing::Span;

/// The error of an event of which this process knows no attempt.
const ENDED_ELSEWHERE: &str = "error is not known here: another process made the last attempt";

/// A delivered message, in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    /// The subject for its answer.
    pub(crate) reply: Subject,
    pub(crate) sequence: u64,
    pub(crate) deliveries: u64,
    /// The time when the server stored the event, since 1970.
    pub(crate) stored_at: Duration,
    pub(crate) in_progress: InProgress,
}

impl Received {
    /// Returns the span of its processing.
    pub(crate) fn span(&self, shared: &Shared, envelope: Option<&Envelope>) -> Span {
        let key = envelope.map(Envelope::idempotency_key);
        let bytes = self.message.payload.len();
        let span = span::process(self.delivered(shared), key.as_ref(), self.deliveries, bytes);
        // A parent and not a link: one message is one span, and so one trace shows the whole way of an event.
        if let Some(headers) = self.message.headers.as_ref().filter(|_| !span.is_disabled()) {
            trace_context::extract(headers).becomes_parent_of(&span);
        }
        span
    }

    pub(crate) fn delivered<'a>(&'a self, shared: &'a Shared) -> Delivered<'a> {
        let (stream, subject, sequence) = (shared.stream, &self.message.subject, self.sequence);
        Delivered { consumer: shared.name.as_str(), stream, subject, sequence }
    }
}

/// A delivery that may start.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) received: Received,
    /// Its envelope, unless that is not valid, until a handler has taken it.
    pub(crate) envelope: Option<Envelope>,
    /// The epoch of the replay that it is part of.
    pub(crate) epoch: Option<Epoch>,
    /// The error of the event, for its dead letter.
    pub(crate) error: Cow<'static, str>,
    /// The lane where it takes its turn; an invalid message has none and does not wait.
    pub(crate) lane: Option<Lane>,
}

impl Job {
    /// Reads a message, which has no lane yet.
    pub(crate) fn read(received: Received, shared: &Shared) -> Self {
        let Message { subject, payload, headers, .. } = &received.message;
        let decoded = Envelope::decode_as(&shared.name, shared.options.max_envelope_bytes, subject, payload);
        let read = decoded.map_err(|error| report(&error).to_string()).and_then(|envelope| {
            let epoch = epoch(subject, headers.as_ref()).map_err(|error| error.to_string())?;
            Ok((envelope, epoch))
        });
        let (envelope, epoch, error) = match read {
            Ok((envelope, epoch)) => (Some(envelope), epoch, ENDED_ELSEWHERE.into()),
            Err(error) => (None, None, error.into()),
        };
        Self { received, envelope, epoch, error, lane: None }
    }
}

/// Returns the epoch of a message that is replayed. Publishers of events might set the header too.
fn epoch(subject: &str, headers: Option<&HeaderMap>) -> Result<Option<Epoch>, ParseError> {
    let header = headers.filter(|_| is_redriven(subject)).and_then(|all| all.get(Epoch::HEADER));
    header.map(|value| value.as_str().parse()).transpose()
}

/// A delivery that has ended and is yet to be answered, unless it is terminated.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) job: Box<Job>,
    pub(crate) ending: Ending,
}
