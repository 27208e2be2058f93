//! One delivery from its claim to its answer: carries out what `decide.rs` decides.

mod dead_letter;

use crate::{
    consumer::{
        Delivery,
        delivery::{
            decide::{Ending, Observed, Outcome, Position, Step, Write, Written, capped, decide},
            job::{Finished, Job},
            reply::{terminate, verb},
        },
        handler::Verdict,
        shared::Shared,
    },
    contract::envelope::Envelope,
    dead_letter::{DeadLetterReason, header::printable},
    dedupe::{Claim, Fence, Slot, StoreError, StoreErrorKind},
    report::report,
    telemetry::{log_limit::limited, span},
};
use futures::{FutureExt, future::BoxFuture, poll};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, error::Elapsed, sleep, timeout_at};
use tracing::Instrument;

/// The time to store a dead letter before it is tried again with the next delivery.
pub(crate) const DEAD_LETTER_BUDGET: Duration = Duration::from_secs(15);
const LONGEST_STORE_CALL: Duration = Duration::from_secs(5);

impl Job {
    /// Processes it.
    pub(crate) fn begin(mut self: Box<Self>, shared: Arc<Shared>) -> BoxFuture<'static, Finished> {
        let span = self.received.span(&shared, self.envelope.as_ref());
        let begun = async move {
            // Handlers are caught where they run; this catches a store that panics.
            let processed = AssertUnwindSafe(process(&shared, &mut self)).catch_unwind().await;
            let ending = processed.unwrap_or(Ending::Abandoned);
            self.settle(&shared, ending).await;
            Finished { job: self, ending }
        };
        begun.instrument(span).boxed()
    }

    /// Terminates a dead-lettered message. All other answers are sent later, together.
    async fn settle(&self, shared: &Shared, ending: Ending) {
        if matches!(ending, Ending::Retried(_) | Ending::Postponed(_) | Ending::Abandoned) {
            shared.arrivals.note_waiting(self.received.sequence);
        }
        let Some(verb) = verb(ending) else { return };
        let span = span::settle(self.received.delivered(shared), verb);
        if let Ending::DeadLettered(reason) = ending {
            self.received.in_progress.mark_uncertain();
            let terminated = terminate(shared, self.received.reply.clone(), reason.as_str());
            Box::pin(terminated.instrument(span)).await;
        }
    }
}

/// Takes a delivery to its end, whose answer is left to the caller.
pub(crate) async fn process(shared: &Shared, job: &mut Job) -> Ending {
    let mut delivery = InProcess::new(shared, job);
    delivery.take_up_decision();
    let mut step = delivery.first_step();
    let ending = loop {
        let seen = match step {
            Step::End(ending) => break ending,
            Step::Claim { after } => delivery.claim(after).await,
            Step::Run => delivery.run().await,
            // In a box, since it is rare and would make every delivery larger.
            Step::DeadLetter(reason) => Box::pin(delivery.dead_letter(reason)).await,
            Step::Write { what, after } => delivery.write(what, after).await,
        };
        let next = decide(&shared.policy, delivery.position(), seen);
        step = capped(next, || delivery.remaining());
        if let (Observed::Wrote(what, _), Step::Claim { .. }) = (seen, step) {
            delivery.start_over(what);
        }
    };
    if matches!(ending, Ending::DeadLettered(_) | Ending::Duplicate) {
        delivery.drop_decision();
    }
    delivery.log(ending);
    ending
}

/// Sleeps, except for zero, which the timer would round up to a millisecond.
async fn pause(length: Duration) {
    if !length.is_zero() {
        Box::pin(sleep(length)).await;
    }
}

/// Returns the result of `future`, unless it takes longer than until `deadline`. A result that is ready needs no timer.
async fn by<T>(
    deadline: impl FnOnce() -> Instant,
    mut future: impl Future<Output = T> + Unpin,
) -> Result<T, Elapsed> {
    match poll!(&mut future) {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => Box::pin(timeout_at(deadline(), future)).await,
    }
}

struct InProcess<'a> {
    shared: &'a Shared,
    job: &'a mut Job,
    slot: Option<Slot>,
    grant: Option<Claimed>,
    failed_claims: u32,
    /// The reason to dead-letter it, if that could not be done yet.
    postponed: Option<DeadLetterReason>,
    /// The failure of the event in one word, for spans.
    failure: &'static str,
}

/// A claim that was granted.
#[derive(Clone, Copy)]
struct Claimed {
    fence: Fence,
    attempt: u32,
    /// Counted from before the claim was sent, so that it ends here no later than in the store.
    lease_end: Instant,
}

impl<'a> InProcess<'a> {
    fn new(shared: &'a Shared, job: &'a mut Job) -> Self {
        let key = job.envelope.as_ref().map(Envelope::idempotency_key);
        let slot = key.map(|key| Slot::new(shared.name.clone(), key));
        let failure = if slot.is_some() { "no_attempt_ended" } else { "invalid" };
        Self { shared, job, slot, grant: None, failed_claims: 0, postponed: None, failure }
    }

    fn first_step(&self) -> Step {
        match self.slot {
            Some(_) => Step::Claim { after: Duration::ZERO },
            None => decide(&self.shared.policy, self.position(), Observed::Invalid),
        }
    }

    fn position(&self) -> Position {
        Position {
            attempt: self.grant.map_or(0, |grant| grant.attempt),
            deliveries: self.job.received.deliveries,
            is_claimed: self.grant.is_some(),
            postponed: self.postponed,
            random: self.job.received.sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ self.job.received.deliveries,
        }
    }

    /// Returns how long the event stays in its stream, by the clock of the server; `None` if that is not known.
    fn remaining(&self) -> Option<Duration> {
        // An event from the future is new.
        let age = self.shared.clock.now()?.saturating_sub(self.job.received.stored_at);
        Some(self.shared.max_age?.saturating_sub(age))
    }

    async fn claim(&mut self, after: Duration) -> Observed {
        let Some(slot) = &self.slot else { return Observed::Invalid };
        if !after.is_zero() {
            tokio::select! {
                () = pause(after) => {}
                () = self.shared.drain.cancelled() => {}
                () = self.job.received.in_progress.until_uncertain() => {}
            }
        }
        if self.may_not_begin() {
            return Observed::Draining;
        }
        let lease = self.shared.options.lease();
        let lease_end = Instant::now() + lease;
        match self.bounded(self.shared.store.claim(slot, lease)).await {
            Ok(claim) => {
                self.shared.state.set_store_up(true);
                self.failed_claims = 0;
                if let Claim::Acquired { fence, attempt, .. } = claim {
                    self.grant = Some(Claimed { fence, attempt, lease_end });
                    self.job.received.in_progress.claimed(lease_end);
                }
                Observed::Claimed(claim)
            }
            Err(error) => {
                // A slot that cannot be read says nothing about the others.
                let is_down = error.as_ref().is_none_or(|error| error.kind() != StoreErrorKind::Corrupt);
                self.shared.state.set_store_up(!is_down);
                self.failed_claims = self.failed_claims.saturating_add(1);
                let error = error.map_or("timed out".to_owned(), |error| report(&error).to_string());
                limited!(self.shared.lines, warn, "dedupe store did not answer a claim", consumer = %self.shared.name, error);
                Observed::ClaimFailed { failures: self.failed_claims }
            }
        }
    }

    /// Calls the store for no longer than leaves time to act on the answer; `None` is no answer.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Unpin,
    ) -> Result<T, Option<StoreError>> {
        let options = &self.shared.options;
        let spare = options.lease().saturating_sub(options.processing_timeout());
        let time = (spare / 2).min(LONGEST_STORE_CALL);
        match by(|| Instant::now() + time, call).await {
            Ok(result) => result.map_err(Some),
            Err(_elapsed) => Err(None),
        }
    }

    /// Returns whether nothing more may begin: shutdown was asked for, or another process may have the event.
    fn may_not_begin(&self) -> bool {
        self.shared.drain.is_cancelled() || self.job.received.in_progress.is_uncertain()
    }

    async fn run(&mut self) -> Observed {
        // The claim took its time.
        if self.may_not_begin() {
            return Observed::Draining;
        }
        // Taken by an earlier run, if it is retried in place.
        let envelope = self.job.envelope.take().or_else(|| self.decode_again());
        let (Some(grant), Some(slot), Some(envelope)) = (self.grant, self.slot.clone(), envelope) else {
            return Observed::Draining;
        };
        let event_type = envelope.event_type();
        let Some(handler) = self.shared.handlers.get(event_type) else {
            (self.job.error, self.failure) = (format!("no handler for {event_type}").into(), "no_handler");
            return Observed::Handled(Outcome::Rejected);
        };
        let (fence, attempt) = (grant.fence, grant.attempt);
        let (sequence, feed) = (self.job.received.sequence, self.shared.feed);
        let delivery = Delivery { envelope, attempt, sequence, feed, slot, fence };
        let time = self.shared.options.processing_timeout();
        let begun = Instant::now();
        let end = begun + time;
        self.job.received.in_progress.end_heartbeats_at(end);
        // It may panic before it has made its future, too.
        let ended = match catch_unwind(AssertUnwindSafe(|| handler(delivery))) {
            Ok(future) => {
                let handled = AssertUnwindSafe(future).catch_unwind();
                self.unless_cancelled(pin!(by(|| end, handled))).await
            }
            Err(panic) => Some(Ok(Err(panic))),
        };
        self.job.received.in_progress.end_heartbeats_at(grant.lease_end);
        let (outcome, failure, error) = match ended {
            None => (Outcome::Cancelled, "cancelled", "cancelled at shutdown".into()),
            Some(Err(_elapsed)) => {
                (Outcome::Failed(None), "timeout", format!("handler did not end within {time:?}").into())
            }
            Some(Ok(Err(_panic))) => (Outcome::Failed(None), "panic", "handler panicked".into()),
            Some(Ok(Ok(Ok(())))) => (Outcome::Done, "", "".into()),
            Some(Ok(Ok(Err(error)))) => match error.verdict() {
                Verdict::Retry(delay) => (Outcome::Failed(delay), "handler_error", error.to_string().into()),
                Verdict::Reject => (Outcome::Rejected, "rejected", error.to_string().into()),
            },
        };
        self.shared.state.meter.ran(event_type, begun, outcome == Outcome::Done);
        (self.job.error, self.failure) = (error, failure);
        Observed::Handled(outcome)
    }

    /// Returns the result of `future`, unless the shutdown grace ends before. A result that is ready does not listen.
    async fn unless_cancelled<T>(&self, mut future: impl Future<Output = T> + Unpin) -> Option<T> {
        match poll!(&mut future) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => Box::pin(self.shared.cancel.run_until_cancelled(future)).await,
        }
    }

    fn decode_again(&self) -> Option<Envelope> {
        let message = &self.job.received.message;
        let max_bytes = self.shared.options.max_envelope_bytes;
        Envelope::decode_at_most(max_bytes, &message.subject, &message.payload).ok()
    }

    /// Keeps the message and drops the claim: the next one is that of a new claimant, and counts as an attempt.
    fn start_over(&mut self, what: Write) {
        self.log(match what {
            Write::Release(ending) => ending,
            Write::Settle | Write::Defer | Write::Forget(_) => Ending::Abandoned,
        });
        self.grant = None;
        self.job.received.in_progress.unclaimed();
        self.slot = self.slot.take().map(|slot| Slot::new(slot.consumer().clone(), slot.key()));
    }

    async fn write(&self, what: Write, after: Duration) -> Observed {
        let (Some(slot), Some(grant)) = (&self.slot, self.grant) else {
            return Observed::Wrote(what, Written::Fenced);
        };
        pause(after).await;
        let store = &self.shared.store;
        let call = match what {
            Write::Settle => store.settle(slot, grant.fence),
            Write::Release(_) => store.release(slot, grant.fence),
            Write::Defer => store.defer(slot, grant.fence),
            Write::Forget(_) => store.forget(slot, grant.fence),
        };
        let written = self.bounded(call).await;
        let written = match written {
            Ok(()) => Written::Done,
            Err(Some(error)) if error.kind() == StoreErrorKind::Fenced => Written::Fenced,
            Err(_) => Written::Failed { lease_expired: Instant::now() >= grant.lease_end },
        };
        Observed::Wrote(what, written)
    }

    /// Logs the ending, never the content of the event.
    fn log(&self, ending: Ending) {
        let failure = match ending {
            Ending::Handled | Ending::Duplicate | Ending::Returned | Ending::BehindStalled(_) => None,
            Ending::Retried(_) | Ending::DeadLettered(_) => Some(self.failure),
            Ending::Postponed(_) => Some("dead_letter_not_stored"),
            Ending::Abandoned => Some("claim_lost"),
        };
        span::processed(ending.name(), self.position().attempt, failure);
        let (consumer, lines) = (&self.shared.name, &self.shared.lines);
        let (sequence, attempt) = (self.job.received.sequence, self.position().attempt);
        match ending {
            Ending::Handled => tracing::debug!(%consumer, sequence, attempt, "event is handled"),
            Ending::Duplicate => limited!(lines, info, "duplicate is skipped", %consumer, sequence),
            Ending::Retried(delay) => {
                self.shared.state.meter.retried();
                let error = printable(&self.job.error);
                limited!(lines, warn, "event is to be retried", %consumer, sequence, attempt, error, ?delay);
            }
            Ending::Postponed(delay) => {
                limited!(lines, warn, "dead letter is to be written later", %consumer, sequence, attempt, ?delay);
            }
            Ending::Returned | Ending::BehindStalled(_) => {
                tracing::debug!(%consumer, sequence, "event is given back");
            }
            Ending::Abandoned => {
                limited!(lines, warn, "claim was lost; the event is left to its owner", %consumer, sequence, attempt);
            }
            // Logged where it was stored.
            Ending::DeadLettered(_) => {}
        }
    }
}
