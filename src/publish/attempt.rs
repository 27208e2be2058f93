//! Repeating a publish until the broker acknowledges it, refuses it, or the time is up.

use super::{BridgeOptions, Outgoing, PublishError, PublishErrorKind, PublishReceipt, suppression};
use crate::connection_watch::{ConnectionWatch, Moment, Refusal};
use async_nats::{
    Client,
    jetstream::{
        self,
        context::{self, ContextBuilder, PublishAckFuture},
        message::{PublishMessage, StreamMessage},
        publish::PublishAck,
        stream::LastRawMessageErrorKind,
    },
};
use std::{error::Error, future::IntoFuture, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// Publishes messages that carry their own message id, so that a repeat is stored once.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    context: jetstream::Context,
    options: BridgeOptions,
    watch: ConnectionWatch,
    /// Of the kind that acknowledgements come to.
    inbox: Arc<str>,
}

/// An attempt that was sent.
struct Sent {
    acknowledgement: PublishAckFuture,
    at: Moment,
}

/// The code of "duplicate message id is in process", which a stream with replicas answers.
const IN_PROCESS: u64 = 10_158;

/// What one failed attempt says about the message and about trying again.
struct Failure {
    error: PublishError,
    try_again: bool,
}

impl Publisher {
    pub(crate) fn new(client: Client, options: BridgeOptions, watch: ConnectionWatch) -> Self {
        let inbox = client.new_inbox().into();
        let context = ContextBuilder::new().timeout(options.attempt_timeout()).build(client);
        Self { context, options, watch, inbox }
    }

    /// Publishes within the retry budget.
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<PublishReceipt, PublishError> {
        let begun = self.begin(message).await;
        self.finish(begun).await
    }

    /// Publishes until `deadline`. One attempt that nobody answered makes the outcome of a failure unknown.
    pub(crate) async fn publish_until(
        &self,
        message: Outgoing,
        deadline: Instant,
    ) -> Result<PublishReceipt, PublishError> {
        let sent = self.send(&message, deadline).await;
        self.finish(Begun { message, sent, deadline }).await
    }

    /// Sends the first attempt. Whoever begins one publish after the other has them sent in this order.
    pub(crate) async fn begin(&self, message: Outgoing) -> Begun {
        let deadline = Instant::now() + self.options.retry_budget();
        let sent = self.send(&message, deadline).await;
        Begun { message, sent, deadline }
    }

    /// Waits for the acknowledgement, and sends again until it comes or the time is up.
    pub(crate) async fn finish(&self, begun: Begun) -> Result<PublishReceipt, PublishError> {
        let Begun { message, mut sent, deadline } = begun;
        let mut outcome_unknown = false;
        let mut was_denied = false;
        let mut pauses = Pauses::new();
        loop {
            let Failure { error, mut try_again } =
                match self.acknowledged(sent, &message.subject, deadline).await {
                    Ok(receipt) if receipt.is_duplicate() && self.options.verifies_duplicates() => {
                        return suppression::verify(&self.context, &message, receipt, deadline).await;
                    }
                    Ok(receipt) => return Ok(receipt),
                    Err(failure) => failure,
                };
            outcome_unknown |= error.is_outcome_unknown();
            if error.kind() == PublishErrorKind::PermissionDenied {
                // One refusal may be that of an earlier message on this subject, from before a change of permissions.
                try_again = !std::mem::replace(&mut was_denied, true);
            }
            let pause = pauses.next_pause();
            if !try_again || Instant::now() + pause >= deadline {
                return Err(error.with_outcome_unknown(outcome_unknown));
            }
            tracing::debug!(subject = message.subject, %error, "publish is repeated");
            sleep(pause).await;
            sent = self.send(&message, deadline).await;
        }
    }

    /// What is stored where the receipt says; `None` when it was deleted since.
    pub(crate) async fn read_until(
        &self,
        receipt: &PublishReceipt,
        deadline: Instant,
    ) -> Result<Option<StreamMessage>, PublishError> {
        let read = async {
            let stream = self.context.get_stream_no_info(receipt.stream()).await;
            let stream = stream.map_err(|e| PublishError::caused(PublishErrorKind::Unavailable, e))?;
            match stream.get_raw_message(receipt.sequence()).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
                Err(error) => Err(PublishError::caused(PublishErrorKind::Unavailable, error)),
            }
        };
        let unanswered = |_elapsed| PublishError::new(PublishErrorKind::TimedOut);
        timeout_at(deadline, read).await.map_err(unanswered)?
    }

    async fn send(&self, message: &Outgoing, deadline: Instant) -> Result<Sent, Failure> {
        let at = self.watch.now();
        let outgoing =
            PublishMessage::build().payload(message.payload.clone()).headers(message.headers.clone());
        let until = deadline.min(Instant::now() + self.options.attempt_timeout());
        // With too many unacknowledged, or while disconnected, sending waits without a limit of its own.
        match timeout_at(until, self.context.send_publish(message.subject.clone(), outgoing)).await {
            Ok(sent) => Ok(Sent { acknowledgement: sent?, at }),
            Err(_elapsed) => Err(Failure::unanswered()),
        }
    }

    /// Waits for one acknowledgement, for the attempt timeout at most, or for the word that it will not come.
    async fn acknowledged(
        &self,
        sent: Result<Sent, Failure>,
        subject: &str,
        deadline: Instant,
    ) -> Result<PublishReceipt, Failure> {
        let Sent { acknowledgement, at } = sent?;
        let is_ours = |refusal: &Refusal| matches!(refusal, Refusal::Publish(refused) if refused == subject);
        tokio::select! {
            biased;
            answer = timeout_at(deadline, acknowledgement.into_future()) => match answer {
                Ok(answer) => stored(answer?),
                Err(_elapsed) => Err(Failure::unanswered()),
            },
            refusal = self.watch.refusal(at, is_ours) => Err(Failure::denied(&refusal, false)),
            // Stored all the same, perhaps: it is the answer that may not come in.
            refusal = self.watch.inbox_refusal(&self.inbox) => Err(Failure::denied(&refusal, true)),
        }
    }
}

/// A server of 2.10 answers with no sequence where newer ones say "in process": the replicas have yet to store it.
fn stored(acknowledged: PublishAck) -> Result<PublishReceipt, Failure> {
    if acknowledged.sequence == 0 {
        let error = PublishError::new(PublishErrorKind::Unavailable);
        return Err(Failure { error: error.with_outcome_unknown(true), try_again: true });
    }
    Ok(acknowledged.into())
}

/// A publish whose first attempt was sent.
pub(crate) struct Begun {
    message: Outgoing,
    sent: Result<Sent, Failure>,
    deadline: Instant,
}

impl Failure {
    fn unanswered() -> Self {
        Self {
            error: PublishError::new(PublishErrorKind::TimedOut).with_outcome_unknown(true),
            try_again: true,
        }
    }

    /// The replicas are about to store it, from an earlier attempt or another publisher of the same fact, and may yet
    /// fail to: only a repeat tells.
    fn in_process(error: &jetstream::Error) -> Self {
        let error = PublishError::caused(PublishErrorKind::Unavailable, error.clone());
        Self { error: error.with_outcome_unknown(true), try_again: true }
    }

    fn denied(refusal: &Refusal, outcome_unknown: bool) -> Self {
        let cause = format!("this user may not {refusal}");
        let error = PublishError::caused(PublishErrorKind::PermissionDenied, cause);
        Self { error: error.with_outcome_unknown(outcome_unknown), try_again: false }
    }

    fn refused(kind: PublishErrorKind, error: &jetstream::Error) -> Self {
        Self {
            error: PublishError::caused(kind, error.clone()),
            try_again: kind == PublishErrorKind::Unavailable,
        }
    }
}

impl From<context::PublishError> for Failure {
    fn from(error: context::PublishError) -> Self {
        use context::PublishErrorKind as Theirs;
        match error.kind() {
            Theirs::TimedOut | Theirs::BrokenPipe => Self::unanswered(),
            Theirs::StreamNotFound => {
                Self { error: PublishError::new(PublishErrorKind::StreamNotFound), try_again: true }
            }
            Theirs::MaxPayloadExceeded => {
                Self { error: PublishError::new(PublishErrorKind::TooLarge), try_again: false }
            }
            _ => match error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) {
                Some(answer) if answer.error_code().0 == IN_PROCESS => Self::in_process(answer),
                Some(answer) => Self::refused(meaning(answer), answer),
                // The command channel of the client is gone.
                None => Self {
                    error: PublishError::caused(PublishErrorKind::Disconnected, error),
                    try_again: false,
                },
            },
        }
    }
}

/// What a server's refusal means: <https://github.com/nats-io/nats-server/blob/main/server/errors.json>.
fn meaning(answer: &jetstream::Error) -> PublishErrorKind {
    const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10_054;
    const STORE_FAILED: u64 = 10_077;
    // A full stream answers like a broken one; only the text tells them apart.
    let is_full = answer.to_string().contains("maximum");
    match (answer.error_code().0, answer.code()) {
        (MESSAGE_EXCEEDS_MAXIMUM, _) => PublishErrorKind::TooLarge,
        (STORE_FAILED, _) if is_full => PublishErrorKind::StreamFull,
        (_, 503) => PublishErrorKind::Unavailable,
        _ => PublishErrorKind::Rejected,
    }
}

/// Growing pauses with a random part, so that many publishers do not come back in step.
struct Pauses {
    next: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { next: Self::FIRST }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = crate::jitter::spread(self.next);
        self.next = (self.next * 2).min(Self::LONGEST);
        pause
    }
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
