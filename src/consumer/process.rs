//! One delivery from its claim to its answer: carries out what `decide.rs` decides.

use super::{
    ConsumerOptions, Delivery,
    decide::{Ending, Outcome, Policy, Position, Seen, Step, Write, Written, decide},
    expiry,
    handler::{HandlerError, Handlers, Verdict},
    hold::{Hold, Holds},
    reply::reply,
};
use crate::{
    consumer_name::ConsumerName,
    dead_letter::{DeadLetterReason, Obituary},
    dedupe::{Claim, DedupeStore, Fence, Slot, StoreError, StoreErrorKind},
    envelope::{DecodeError, Envelope},
    publish::Publisher,
};
use async_nats::{Client, Message};
use futures::FutureExt;
use std::{
    error::Error,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What all deliveries of a consumer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: ConsumerName,
    pub(super) client: Client,
    pub(super) publisher: Publisher,
    pub(super) store: Arc<dyn DedupeStore>,
    pub(super) handlers: Handlers,
    pub(super) options: ConsumerOptions,
    pub(super) policy: Policy,
    pub(super) holds: Arc<Holds>,
    /// Set while the store does not answer: nothing new is asked for.
    pub(super) store_is_down: AtomicBool,
    /// How long the stream keeps events, if that is limited and known.
    pub(super) max_age: Option<Duration>,
    /// How many sequences the stream removed that were still due.
    pub(super) expired: AtomicU64,
    /// Shutdown was asked for: no handler starts.
    pub(super) drain: CancellationToken,
    /// The grace is over: running handlers are dropped.
    pub(super) cancel: CancellationToken,
}

/// A message as it was delivered, held until this is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Message,
    pub(super) reply: async_nats::Subject,
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) deliveries: u64,
    pub(super) hold: Hold,
}

/// How long a dead letter may take to be stored before it is tried again with the next delivery.
pub(super) const DEAD_LETTER_BUDGET: Duration = Duration::from_secs(15);
const LONGEST_STORE_CALL: Duration = Duration::from_secs(5);

/// Takes a delivery to its end and answers it.
pub(super) async fn process(
    shared: &Shared,
    received: Received,
    decoded: Result<Envelope, DecodeError>,
) -> Ending {
    let mut delivery = InProcess::new(shared, &received, decoded);
    let mut step = delivery.first_step();
    let ending = loop {
        let seen = match step {
            Step::End(ending) => break ending,
            Step::Claim { after } => delivery.claim(after).await,
            Step::Run => delivery.run().await,
            Step::DeadLetter(reason) => delivery.dead_letter(reason).await,
            Step::Write { what, after } => delivery.write(what, after).await,
        };
        let next = decide(&shared.policy, delivery.position(), seen);
        step = expiry::capped(next, shared.max_age, &received.reply);
        if let (Seen::Wrote(what, _), Step::Claim { .. }) = (seen, step) {
            delivery.start_over(what);
        }
    };
    delivery.log(ending);
    reply(&shared.client, received.reply.clone(), ending).await;
    ending
}

/// No pause at all is not left to the timer, which would round it up to a millisecond.
async fn pause(length: Duration) {
    if !length.is_zero() {
        sleep(length).await;
    }
}

struct InProcess<'a> {
    shared: &'a Shared,
    received: &'a Received,
    slot: Option<Slot>,
    envelope: Option<Envelope>,
    grant: Option<Grant>,
    failed_claims: u32,
    /// Why the event failed, for its dead letter.
    error: String,
}

/// A claim that was granted.
#[derive(Clone, Copy)]
struct Grant {
    fence: Fence,
    attempt: u32,
    /// Counted from before the claim was sent, so that it ends here no later than in the store.
    lease_end: Instant,
}

impl<'a> InProcess<'a> {
    fn new(shared: &'a Shared, received: &'a Received, decoded: Result<Envelope, DecodeError>) -> Self {
        let (envelope, error) = match decoded {
            Ok(envelope) => {
                (Some(envelope), "no attempt came to its end: the last one ended with its process".to_owned())
            }
            Err(error) => (None, HandlerError::reject(error).to_string()),
        };
        let slot =
            envelope.as_ref().map(|envelope| Slot::new(shared.name.clone(), envelope.idempotency_key()));
        Self { shared, received, slot, envelope, grant: None, failed_claims: 0, error }
    }

    fn first_step(&self) -> Step {
        match self.slot {
            Some(_) => Step::Claim { after: Duration::ZERO },
            None => decide(&self.shared.policy, self.position(), Seen::Invalid),
        }
    }

    fn position(&self) -> Position {
        Position {
            attempt: self.grant.map_or(0, |grant| grant.attempt),
            deliveries: self.received.deliveries,
            is_claimed: self.grant.is_some(),
            random: self.received.sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.received.deliveries,
        }
    }

    async fn claim(&mut self, after: Duration) -> Seen {
        let Some(slot) = &self.slot else { return Seen::Invalid };
        if self.shared.drain.run_until_cancelled(pause(after)).await.is_none()
            || self.shared.drain.is_cancelled()
        {
            return Seen::Draining;
        }
        let lease = self.shared.options.lease();
        let lease_end = Instant::now() + lease;
        match self.bounded(self.shared.store.claim(slot, lease)).await {
            Ok(claim) => {
                self.shared.store_is_down.store(false, Ordering::Relaxed);
                self.failed_claims = 0;
                if let Claim::Acquired { fence, attempt } = claim {
                    self.grant = Some(Grant { fence, attempt, lease_end });
                    self.received.hold.claimed(lease_end);
                }
                Seen::Claimed(claim)
            }
            Err(error) => {
                // A slot that cannot be read says nothing about the others.
                let is_down = error.as_ref().is_none_or(|error| error.kind() != StoreErrorKind::Corrupt);
                self.shared.store_is_down.store(is_down, Ordering::Relaxed);
                self.failed_claims = self.failed_claims.saturating_add(1);
                let error =
                    error.map_or("timed out".to_owned(), |error| HandlerError::retry(error).to_string());
                tracing::warn!(consumer = %self.shared.name, error, "dedupe store did not answer a claim");
                Seen::ClaimFailed { failures: self.failed_claims }
            }
        }
    }

    /// Calls the store for no longer than leaves time to act on the answer; `None` is no answer.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Option<StoreError>> {
        let options = &self.shared.options;
        let spare = options.lease().saturating_sub(options.processing_timeout());
        match timeout((spare / 2).min(LONGEST_STORE_CALL), call).await {
            Ok(result) => result.map_err(Some),
            Err(_elapsed) => Err(None),
        }
    }

    async fn run(&mut self) -> Seen {
        // Taken by an earlier run, if it is retried in place.
        let envelope = self.envelope.take().or_else(|| self.decode_again());
        let (Some(grant), Some(slot), Some(envelope)) = (self.grant, self.slot.clone(), envelope) else {
            return Seen::Draining;
        };
        let event_type = envelope.event_type();
        let Some(handler) = self.shared.handlers.get(event_type) else {
            self.error = format!("no handler for {event_type}");
            return Seen::Handled(Outcome::Rejected);
        };
        let (fence, attempt) = (grant.fence, grant.attempt);
        let delivery = Delivery { envelope, attempt, sequence: self.received.sequence, slot, fence };
        let time = self.shared.options.processing_timeout();
        self.received.hold.limit(Instant::now() + time);
        let handled = AssertUnwindSafe(async move { handler(delivery).await }).catch_unwind();
        let ended = self.shared.cancel.run_until_cancelled(timeout(time, handled)).await;
        self.received.hold.limit(grant.lease_end);
        let (outcome, error) = match ended {
            None => (Outcome::Cancelled, "cancelled at shutdown".to_owned()),
            Some(Err(_elapsed)) => (Outcome::Failed(None), format!("handler did not end within {time:?}")),
            Some(Ok(Err(_panic))) => (Outcome::Failed(None), "handler panicked".to_owned()),
            Some(Ok(Ok(Ok(())))) => (Outcome::Done, String::new()),
            Some(Ok(Ok(Err(error)))) => match error.verdict() {
                Verdict::Retry(delay) => (Outcome::Failed(delay), error.to_string()),
                Verdict::Reject => (Outcome::Rejected, error.to_string()),
            },
        };
        self.error = error;
        Seen::Handled(outcome)
    }

    fn decode_again(&self) -> Option<Envelope> {
        let message = &self.received.message;
        let max_bytes = self.shared.options.max_envelope_bytes;
        Envelope::decode_at_most(max_bytes, &message.subject, &message.payload).ok()
    }

    async fn dead_letter(&self, reason: DeadLetterReason) -> Seen {
        let Received { message, stream, sequence, deliveries, .. } = self.received;
        let obituary = Obituary {
            consumer: self.shared.name.as_str(),
            reason,
            error: &self.error,
            deliveries: *deliveries,
            stream,
            sequence: *sequence,
            subject: &message.subject,
            headers: message.headers.as_ref(),
            payload: &message.payload,
        };
        let budget_end = Instant::now() + DEAD_LETTER_BUDGET;
        let deadline = self.grant.map_or(budget_end, |grant| grant.lease_end.min(budget_end));
        let stored =
            self.shared.cancel.run_until_cancelled(obituary.store(&self.shared.publisher, deadline)).await;
        if let Some(Err(error)) = &stored {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(consumer = %self.shared.name, sequence, %error, cause, "dead letter could not be stored");
        }
        Seen::DeadLettered { reason, stored: matches!(stored, Some(Ok(()))) }
    }

    /// Keeps the message and gives up the claim: the next one is a new claimant's, and counts.
    fn start_over(&mut self, what: Write) {
        self.log(match what {
            Write::Release(ending) => ending,
            Write::Settle | Write::Forget(_) => Ending::Abandoned,
        });
        self.grant = None;
        self.received.hold.unclaimed();
        self.slot = self.slot.take().map(|slot| Slot::new(slot.consumer().clone(), slot.key()));
    }

    async fn write(&self, what: Write, after: Duration) -> Seen {
        let (Some(slot), Some(grant)) = (&self.slot, self.grant) else {
            return Seen::Wrote(what, Written::Fenced);
        };
        pause(after).await;
        let store = &self.shared.store;
        let written = match what {
            Write::Settle => self.bounded(store.settle(slot, grant.fence)).await,
            Write::Release(_) => self.bounded(store.release(slot, grant.fence)).await,
            Write::Forget(_) => self.bounded(store.forget(slot, grant.fence)).await,
        };
        let written = match written {
            Ok(()) => Written::Done,
            Err(Some(error)) if error.kind() == StoreErrorKind::Fenced => Written::Fenced,
            Err(_) => Written::Failed { lease_is_over: Instant::now() >= grant.lease_end },
        };
        Seen::Wrote(what, written)
    }

    /// Says what happened, never what the event holds.
    fn log(&self, ending: Ending) {
        let consumer = &self.shared.name;
        let (sequence, attempt, error) = (self.received.sequence, self.position().attempt, &self.error);
        match ending {
            Ending::Handled => tracing::debug!(%consumer, sequence, attempt, "event is handled"),
            Ending::Duplicate => tracing::info!(%consumer, sequence, "duplicate is skipped"),
            Ending::Retried(delay) => {
                tracing::warn!(%consumer, sequence, attempt, error, ?delay, "event is to be retried");
            }
            Ending::Postponed(delay) => {
                tracing::warn!(%consumer, sequence, attempt, ?delay, "dead letter is to be written later");
            }
            Ending::Returned => tracing::debug!(%consumer, sequence, "event is given back at shutdown"),
            Ending::Abandoned => {
                tracing::warn!(%consumer, sequence, attempt, "claim is lost; the event is left to its owner");
            }
            // Logged where it was stored.
            Ending::DeadLettered(_) => {}
        }
    }
}
