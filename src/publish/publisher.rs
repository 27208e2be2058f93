//! The publisher, which repeats a publish until the broker acknowledges it, refuses it, or the time is up.

use crate::{
    nats::{
        api::ApiSubject,
        api_context::ApiContext,
        connection_watch::{ConnectionWatch, Mark},
        permission_violation::PermissionViolation,
    },
    publish::{
        BridgeOptions, Outgoing, PublishError, PublishErrorKind, PublishReceipt,
        attempt::{
            answer::{Answer, is_final},
            failure::Failure,
            retry::Backoff,
        },
        meter::PublisherMeter,
        span::PublishSpan,
        verify_duplicate,
    },
    report::report,
};
use async_nats::jetstream::{
    context::{self, PublishAckFuture},
    message::{PublishMessage, StreamMessage},
    publish::PublishAck,
};
use std::{error::Error, future::IntoFuture, pin::pin, sync::Arc};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// A publisher of messages that have their own message id, so that a repeat is stored once.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    pub(super) context: ApiContext,
    pub(super) options: BridgeOptions,
    pub(super) watch: ConnectionWatch,
    /// An inbox like those that acknowledgements go to.
    pub(super) inbox: Arc<str>,
    pub(super) meter: PublisherMeter,
}

/// An attempt that was sent.
pub(super) struct Sent {
    acknowledgement: PublishAckFuture,
    mark: Mark,
}

impl Publisher {
    pub(crate) fn new(context: &ApiContext, options: BridgeOptions, watch: ConnectionWatch) -> Self {
        let inbox = context.client().new_inbox().into();
        let context = context.with_timeout(options.attempt_timeout());
        Self { context, options, watch, inbox, meter: PublisherMeter::new() }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn cloud_events(&self) -> bool {
        self.options.cloud_events()
    }

    /// Publishes within the retry budget.
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<PublishReceipt, PublishError> {
        let deadline = Instant::now() + self.options.retry_budget();
        self.publish_until(message, deadline).await
    }

    /// Publishes until `deadline`. One unanswered attempt makes the outcome of a failure unknown.
    pub(crate) async fn publish_until(
        &self,
        mut message: Outgoing,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let publish_span = self.begin(&mut message);
        let published = async {
            let sent = self.send(&message, deadline).await;
            self.finish(message, sent, deadline).await
        };
        let outcome = published.instrument(publish_span.span().clone()).await;
        publish_span.end(&self.meter, &outcome);
        outcome
    }

    /// Makes one attempt until `deadline`, for callers that repeat it themselves.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) async fn publish_once(
        &self,
        mut message: Outgoing,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let publish_span = self.begin(&mut message);
        let published = async {
            let sent = self.send(&message, deadline).await;
            match self.acknowledged(sent, &message, deadline).await {
                Ok(receipt) if self.is_to_be_verified(&receipt) => {
                    verify_duplicate::verify(&self.context, &message, receipt, deadline).await
                }
                acknowledged => acknowledged.map_err(|failure| failure.error),
            }
        };
        let outcome = published.instrument(publish_span.span().clone()).await;
        publish_span.end(&self.meter, &outcome);
        outcome
    }

    fn is_to_be_verified(&self, receipt: &PublishReceipt) -> bool {
        receipt.is_duplicate() && self.options.verify_duplicates()
    }

    fn begin(&self, message: &mut Outgoing) -> PublishSpan {
        let Outgoing { subject, message_id, payload, .. } = message;
        let publish_span = PublishSpan::begin(subject, message_id, payload.len(), &self.context);
        publish_span.inject_into(&mut message.headers);
        publish_span
    }

    /// Waits for the acknowledgement, and sends again until it comes or the time is up.
    pub(super) async fn finish(
        &self,
        message: Outgoing,
        mut sent: Result<Sent, Failure>,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let mut backoff = Backoff::until(deadline);
        let log = |error: &PublishError| {
            tracing::debug!(subject = message.subject, error = %report(error), "publish is repeated");
        };
        loop {
            let failure = match self.acknowledged(sent, &message, deadline).await {
                Ok(receipt) if self.is_to_be_verified(&receipt) => {
                    return verify_duplicate::verify(&self.context, &message, receipt, deadline).await;
                }
                Ok(receipt) => return Ok(receipt),
                Err(failure) => failure,
            };
            backoff.wait_after(failure, log).await.map_err(|error| self.explained(error))?;
            sent = self.send(&message, deadline).await;
        }
    }

    /// Adds the reason why there is no connection, if there is none.
    pub(super) fn explained(&self, error: PublishError) -> PublishError {
        match error.kind() {
            PublishErrorKind::TimedOut | PublishErrorKind::Disconnected => {
                error.or_caused(self.watch.disconnected(&self.context.client()))
            }
            _ => error,
        }
    }

    /// Reads the message that the receipt names; `None` when it was deleted since.
    pub(crate) async fn read_until(
        &self,
        receipt: &PublishReceipt,
        deadline: Instant,
    ) -> Result<Option<StreamMessage>, PublishError> {
        let request = ApiSubject::message_get(receipt.stream());
        let is_ours = |violation: &PermissionViolation| self.context.is_refused(&request, violation);
        let read = pin!(timeout_at(deadline, verify_duplicate::read(&self.context, receipt)));
        match self.watch.guard(self.watch.now(), &self.inbox, is_ours, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(_elapsed)) => Err(PublishError::new(PublishErrorKind::TimedOut)),
            Err(violation) => Err(Failure::denied(&violation, false).error),
        }
    }

    pub(super) async fn send(&self, message: &Outgoing, deadline: Instant) -> Result<Sent, Failure> {
        let mark = self.watch.now();
        let outgoing =
            PublishMessage::build().payload(message.payload.clone()).headers(message.headers.clone());
        let until = deadline.min(Instant::now() + self.options.attempt_timeout());
        // With too many unacknowledged, or while disconnected, sending has no timeout of its own.
        match timeout_at(until, self.context.send_publish(message.subject.clone(), outgoing)).await {
            Ok(sent) => Ok(Sent { acknowledgement: sent?, mark }),
            Err(_elapsed) => Err(Failure::unanswered()),
        }
    }

    /// Waits for one acknowledgement, for the attempt timeout at most, or for a permission violation.
    async fn acknowledged(
        &self,
        sent: Result<Sent, Failure>,
        message: &Outgoing,
        deadline: Instant,
    ) -> Result<PublishReceipt, Failure> {
        let Sent { acknowledgement, mark } = sent?;
        let is_ours = |violation: &PermissionViolation| violation.is_of_publish(&message.subject);
        let receipt = pin!(self.receipt(acknowledgement, message, deadline));
        let answered = self.watch.guard(mark, &self.inbox, is_ours, receipt).await;
        // A forbidden answer does not mean that nothing was stored.
        answered.unwrap_or_else(|violation| Err(Failure::denied(&violation, !is_ours(&violation))))
    }

    async fn receipt(
        &self,
        acknowledgement: PublishAckFuture,
        message: &Outgoing,
        deadline: Instant,
    ) -> Result<PublishReceipt, Failure> {
        match timeout_at(deadline, acknowledgement.into_future()).await {
            Err(_elapsed) => Err(Failure::unanswered()),
            Ok(Ok(acknowledged)) => self.in_domain(stored(acknowledged)?),
            Ok(Err(error)) if is_foreign(&error) => {
                // Another subscriber answered first, and the answer of JetStream is lost: publish again.
                let sent =
                    (message.subject.as_str().into(), message.headers.clone(), message.payload.clone());
                let until = deadline.min(Instant::now() + self.options.attempt_timeout());
                let answer = self.ask(sent, until, is_final).await;
                let stored = answer.and_then(|answer| Answer::read(&answer).receipt());
                let stored = stored.and_then(|receipt| self.in_domain(receipt));
                stored.map_err(Failure::of_unknown_outcome)
            }
            Ok(Err(error)) => Err(error.into()),
        }
    }
}

impl Publisher {
    /// Checks that a message is stored in the domain of the bridge, if that is set. Another one may have a stream for
    /// the same subjects, and the first of both to acknowledge is heard.
    pub(super) fn in_domain(&self, receipt: PublishReceipt) -> Result<PublishReceipt, Failure> {
        match self.context.prefix().domain() {
            Some(wanted) if receipt.domain() != Some(wanted) => Err(Failure::in_domain(&receipt, wanted)),
            _ => Ok(receipt),
        }
    }
}

/// Returns whether the answer cannot be read as one of JetStream.
fn is_foreign(error: &context::PublishError) -> bool {
    matches!(error.source(), Some(source) if source.is::<serde_json::Error>())
}

fn stored(acknowledged: PublishAck) -> Result<PublishReceipt, Failure> {
    if acknowledged.sequence == 0 { Err(Failure::without_sequence()) } else { Ok(acknowledged.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledgement(text: &str) -> Result<PublishReceipt, Failure> {
        stored(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn an_acknowledgement_without_a_sequence_is_no_receipt() {
        let in_process = r#"{"stream":"STRATT_EVENTS","seq":0,"duplicate":true}"#;
        let failure = acknowledgement(in_process).err().unwrap();
        assert!(failure.try_again && failure.error.is_outcome_unknown());
        let receipt = acknowledgement(&in_process.replace(":0", ":7")).ok().unwrap();
        assert_eq!((receipt.sequence(), receipt.is_duplicate()), (7, true));
    }
}
