//! A delivery on its way from its arrival to its end.

use crate::{
    consumer::{
        delivery::{decide::Ending, in_progress::InProgress},
        receive::lanes::Lane,
        shared::Shared,
    },
    contract::envelope::Envelope,
    telemetry::{
        span::{self, Delivered},
        trace_context,
    },
};
use async_nats::{Message, Subject};
use std::{borrow::Cow, time::Duration};
use tracing::Span;

/// A message as it was delivered, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    /// What it is answered on.
    pub(crate) reply: Subject,
    pub(crate) sequence: u64,
    pub(crate) deliveries: u64,
    /// When the server stored the event, since 1970.
    pub(crate) stored_at: Duration,
    pub(crate) hold: InProgress,
}

impl Received {
    /// The span of all that becomes of it here.
    pub(crate) fn span(&self, shared: &Shared, envelope: Option<&Envelope>) -> Span {
        let key = envelope.map(Envelope::idempotency_key);
        let bytes = self.message.payload.len();
        let span = span::process(self.delivered(shared), key.as_ref(), self.deliveries, bytes);
        // A parent and not a link: one message is one span, and so one trace tells the whole way of an event.
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
    /// What it holds, unless that is not valid, until a handler has taken it.
    pub(crate) envelope: Option<Envelope>,
    /// Why it failed or is not valid, for its dead letter.
    pub(crate) error: Cow<'static, str>,
    /// Where it takes its turn; what is not valid waits for nobody.
    pub(crate) lane: Option<Lane>,
}

/// A delivery that has ended, and of which the server is yet to be told, unless it is terminated.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) job: Box<Job>,
    pub(crate) ending: Ending,
}
