//! Repeating a publish until the broker acknowledges it, refuses it, or the time is up.

use super::{BridgeOptions, Outgoing, PublishError, PublishErrorKind, PublishReceipt};
use async_nats::{
    Client,
    jetstream::{
        self,
        context::{self, ContextBuilder, PublishAckFuture},
        message::{PublishMessage, StreamMessage},
        stream::LastRawMessageErrorKind,
    },
};
use std::{error::Error, future::IntoFuture, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// Publishes messages that carry their own message id, so that a repeat is stored once.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    context: jetstream::Context,
    options: BridgeOptions,
}

/// The code of "duplicate message id is in process", which a stream with replicas answers.
const IN_PROCESS: u64 = 10_158;

/// What one failed attempt says about the message and about trying again.
struct Failure {
    error: PublishError,
    try_again: bool,
}

impl Publisher {
    pub(crate) fn new(client: Client, options: BridgeOptions) -> Self {
        let context = ContextBuilder::new().timeout(options.attempt_timeout()).build(client);
        Self { context, options }
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
        let mut pauses = Pauses::new();
        loop {
            let Failure { error, try_again } = match acknowledged(sent, deadline).await {
                Ok(receipt) => return Ok(receipt),
                Err(failure) => failure,
            };
            outcome_unknown |= error.is_outcome_unknown();
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

    async fn send(&self, message: &Outgoing, deadline: Instant) -> Result<PublishAckFuture, Failure> {
        let outgoing =
            PublishMessage::build().payload(message.payload.clone()).headers(message.headers.clone());
        let until = deadline.min(Instant::now() + self.options.attempt_timeout());
        // With too many unacknowledged, or while disconnected, sending waits without a limit of its own.
        match timeout_at(until, self.context.send_publish(message.subject.clone(), outgoing)).await {
            Ok(sent) => sent.map_err(Failure::from),
            Err(_elapsed) => Err(Failure::unanswered()),
        }
    }
}

/// A publish whose first attempt was sent.
pub(crate) struct Begun {
    message: Outgoing,
    sent: Result<PublishAckFuture, Failure>,
    deadline: Instant,
}

/// Waits for one acknowledgement, for the attempt timeout at most.
async fn acknowledged(
    sent: Result<PublishAckFuture, Failure>,
    deadline: Instant,
) -> Result<PublishReceipt, Failure> {
    match timeout_at(deadline, sent?.into_future()).await {
        Ok(answer) => Ok(answer?.into()),
        Err(_elapsed) => Err(Failure::unanswered()),
    }
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
