//! The span of one publish, from its first attempt to its end.

use crate::{
    publish::{
        PublishError, PublishReceipt,
        meter::{Begun, PublisherMeter},
    },
    telemetry::{
        log_limit::{LogLimit, limited},
        span, trace_context,
    },
};
use async_nats::{HeaderMap, jetstream::Context};
use std::{fmt::Display, sync::LazyLock};
use tracing::Span;

/// The limit for all publishers of the process: each caller learns the outcome of its own event.
static LINES: LazyLock<LogLimit> = LazyLock::new(|| LogLimit::new("publishing"));

/// A publish that is under way.
#[derive(Debug)]
#[must_use = "its end must be recorded"]
pub(crate) struct PublishSpan {
    span: Span,
    begun: Begun,
}

impl PublishSpan {
    pub(crate) fn begin(subject: &str, message_id: impl Display, bytes: usize, context: &Context) -> Self {
        let begun = Begun::now(subject);
        Self { span: span::publish(subject, message_id, bytes, context), begun }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { span: Span::none(), begun: Begun::now("") }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Adds the trace to the headers. A message that has a trace already, from an outbox or a dead letter, keeps it.
    pub(crate) fn inject_into(&self, headers: &mut HeaderMap) {
        if !self.span.is_disabled() {
            trace_context::extract(headers).joins(&self.span);
        }
        self.span.in_scope(|| trace_context::inject(headers));
    }

    /// Records the end. A publish whose future is dropped has none.
    pub(crate) fn end(self, meter: &PublisherMeter, outcome: &Result<PublishReceipt, PublishError>) {
        meter.ended(self.begun, outcome);
        match outcome {
            Ok(receipt) => {
                self.span
                    .record("stratt.stream", receipt.stream())
                    .record("stratt.sequence", receipt.sequence())
                    .record("stratt.duplicate", receipt.is_duplicate());
                if receipt.is_duplicate() {
                    let (stream, sequence) = (receipt.stream(), receipt.sequence());
                    limited!(LINES, info, "broker dropped a duplicate", parent: &self.span, stream, sequence);
                }
            }
            Err(error) => span::failed(&self.span, error.kind().as_str()),
        }
    }
}
