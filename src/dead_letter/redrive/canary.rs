//! The first event of a group that is redriven.

use crate::{
    contract::subject::Feed,
    dead_letter::{
        DeadLetterError, DeadLetterErrorKind,
        redrive::{failures::Failures, recipient::Recipient},
        unavailable,
    },
    nats::api_context::ApiContext,
    publish::PublishReceipt,
    topology::forwarded_as,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pause between two looks at the durable.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An event that was redriven, and of which it is to be seen whether its consumer handles it.
#[derive(Debug)]
pub(super) struct Canary {
    recipient: Recipient,
    /// The sequence of its dead letter.
    letter: u64,
    /// Its sequence in the stream of events.
    published: u64,
}

impl Canary {
    pub(super) fn new(recipient: &Recipient, letter: u64, receipt: &PublishReceipt) -> Self {
        Self { recipient: recipient.clone(), letter, published: receipt.sequence() }
    }

    /// Waits until the event is handled; fails if it is dead-lettered again, or not handled in time.
    pub(super) async fn passes(
        &self,
        context: &ApiContext,
        failures: &mut Failures,
        within: Duration,
    ) -> Result<(), DeadLetterError> {
        let (deadline, feed) = (Instant::now() + within, self.recipient.feed);
        let (mut delivered_as, mut next) = (None, 1);
        while Instant::now() < deadline {
            if delivered_as.is_none() {
                delivered_as = self.sequence(context, &mut next).await?;
            }
            if let Some(sequence) = delivered_as {
                // Asked for before the failures: a dead letter is stored before its event is answered.
                let is_answered = self.is_answered(context, sequence).await?;
                failures.read().await?;
                if failures.contain(feed, sequence) {
                    return Err(DeadLetterError::new(DeadLetterErrorKind::CanaryFailed, Some(self.letter)));
                }
                if is_answered {
                    return Ok(());
                }
            }
            sleep(LOOK_EVERY).await;
        }
        let pending = format!("{feed} has not seen it answered within {within:?}: nothing more is redriven");
        let error = DeadLetterError::new(DeadLetterErrorKind::CanaryPending, Some(self.letter));
        Err(error.caused_by(pending))
    }

    /// Returns its sequence in the feed of the consumer, once it is there. `next` is where to look on from.
    async fn sequence(&self, context: &ApiContext, next: &mut u64) -> Result<Option<u64>, DeadLetterError> {
        if self.recipient.feed == Feed::Strat {
            return Ok(Some(self.published));
        }
        let found = forwarded_as(context, self.recipient.delivered_on(), self.published, next).await;
        found.map_err(|error| self.unavailable(error))
    }

    /// Returns whether the durable has an answer to this event and to all that it was delivered before.
    async fn is_answered(&self, context: &ApiContext, sequence: u64) -> Result<bool, DeadLetterError> {
        let info = self.recipient.durable(context).await.map_err(|error| self.unavailable(error))?;
        Ok(info.is_ok_and(|info| info.ack_floor.stream_sequence >= sequence))
    }

    fn unavailable(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeadLetterError {
        unavailable(Some(self.letter), error)
    }
}
