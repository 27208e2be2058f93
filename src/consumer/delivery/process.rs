//! One delivery from its claim to its answer: carries out what `decide.rs` decides.

mod claim;
mod dead_letter;
mod lease;
mod parking;
mod run;

use crate::{
    consumer::{
        delivery::{
            company::Presence,
            decide::{Ending, Observed, Position, Step, Write, Written, capped, decide},
            in_progress::Stage,
            job::{Finished, Job},
            reply::{terminate, verb},
        },
        shared::Shared,
    },
    contract::{
        envelope::Envelope,
        event::{Event, EventType},
    },
    dead_letter::{DeadLetterReason, PlaceInUnit, header::printable},
    dedupe::{Fence, Slot, StoreError, StoreErrorKind},
    telemetry::{log_limit::limited, span},
};
use async_nats::Message;
use futures::{FutureExt, future::BoxFuture, poll};
use std::{panic::AssertUnwindSafe, sync::Arc, task::Poll, time::Duration};
use tokio::time::{Instant, error::Elapsed, sleep, timeout_at};
use tracing::Instrument;

/// The time to store a dead letter before it is tried again with the next delivery.
pub(crate) const DEAD_LETTER_BUDGET: Duration = Duration::from_secs(15);
const LONGEST_STORE_CALL: Duration = Duration::from_secs(5);
/// The failure, in one word, of an event whose handler has not run.
const NOT_RUN: &str = "no_attempt_ended";

impl Job {
    /// Processes it.
    pub(crate) fn begin(mut self: Box<Self>, shared: Arc<Shared>) -> BoxFuture<'static, Finished> {
        self.received.in_progress.enter(Stage::InFlight);
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
        if ending.comes_again() {
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
            Step::Claim { after, alone } => delivery.claim(after, alone).await,
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
    let ending = delivery.let_next_follow(ending).await;
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
    event_type: Option<EventType>,
    slot: Option<Slot>,
    grant: Option<Claimed>,
    /// While it holds a claim, or is about to.
    presence: Option<Presence<'a>>,
    /// Its handler is to run as the probe of an open circuit breaker.
    is_probe: bool,
    /// The pause that the circuit breaker asked for when it was last found open.
    pause: Option<Duration>,
    failed_claims: u32,
    /// Its place in its unit, if the consumer parks.
    place: Option<PlaceInUnit>,
    /// It is to be parked and has a dead letter.
    has_letter: bool,
    /// The reason to dead-letter it, if that could not be done yet.
    postponed: Option<DeadLetterReason>,
    /// The failure of the event in one word, for spans.
    failure: &'static str,
}

/// Whatever ends it, a store that panics included: a probe that is not given up would keep the breaker open.
impl Drop for InProcess<'_> {
    fn drop(&mut self) {
        self.give_up_probe();
    }
}

/// A claim that was granted.
#[derive(Clone, Copy)]
struct Claimed {
    fence: Fence,
    /// The number of attempts that count.
    attempt: u32,
}

impl<'a> InProcess<'a> {
    fn new(shared: &'a Shared, job: &'a mut Job) -> Self {
        let event_type = job.envelope.as_ref().map(Envelope::event_type);
        let key = job.envelope.as_ref().map(Envelope::idempotency_key);
        let slot = key.map(|key| match job.epoch {
            None => Slot::new(shared.name.clone(), key),
            Some(epoch) => Slot::replayed(shared.name.clone(), key, epoch),
        });
        let failure = if slot.is_some() { NOT_RUN } else { "invalid" };
        let place = shared.parking.as_ref().zip(job.envelope.as_ref()).map(|(_, envelope)| {
            let Message { subject, headers, .. } = &job.received.message;
            let unit = envelope.event().unit_uri().as_str();
            PlaceInUnit::of(unit, job.received.sequence, subject, headers.as_ref())
        });
        Self {
            shared,
            job,
            event_type,
            slot,
            grant: None,
            presence: None,
            is_probe: false,
            pause: None,
            failed_claims: 0,
            place,
            has_letter: false,
            postponed: None,
            failure,
        }
    }

    fn first_step(&self) -> Step {
        match self.slot {
            Some(_) => Step::Claim { after: Duration::ZERO, alone: false },
            None => decide(&self.shared.policy, self.position(), Observed::Invalid),
        }
    }

    fn position(&self) -> Position {
        Position {
            attempt: self.grant.map_or(0, |grant| grant.attempt),
            deliveries: self.job.received.deliveries,
            is_claimed: self.grant.is_some(),
            is_alone: matches!(self.presence, Some(Presence::Alone(_))),
            pause: self.pause,
            postponed: self.postponed,
            random: self.random(),
        }
    }

    /// Returns a number that spreads delays.
    fn random(&self) -> u64 {
        self.job.received.sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.job.received.deliveries
    }

    /// Returns how long the event stays in its stream, by the clock of the server; `None` if that is not known.
    fn remaining(&self) -> Option<Duration> {
        // An event from the future is new.
        let age = self.shared.clock.now()?.saturating_sub(self.job.received.stored_at);
        Some(self.shared.max_age?.saturating_sub(age))
    }

    /// Returns whether nothing more may begin: shutdown was asked for, or another process may have the event.
    fn may_not_begin(&self) -> bool {
        self.shared.drain.is_cancelled() || self.job.received.in_progress.is_uncertain()
    }

    /// Calls the store for no longer than leaves time to act on the answer; `None` is no answer.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Unpin,
    ) -> Result<T, Option<StoreError>> {
        let time = self.job.received.in_progress.heartbeat_interval().min(LONGEST_STORE_CALL);
        match by(|| Instant::now() + time, call).await {
            Ok(result) => result.map_err(Some),
            Err(_elapsed) => Err(None),
        }
    }

    /// Returns whether a write that was not answered is given up: at lease expiry, since others may then claim the
    /// slot, or one lease later if it hands an attempt back, perhaps since the lease expired.
    fn is_last(&self, what: Write) -> bool {
        let more = match what {
            Write::Defer(_) | Write::Isolate => self.shared.options.lease(),
            Write::Settle | Write::Release(_) | Write::Forget(_) => Duration::ZERO,
        };
        let lease_end = self.job.received.in_progress.lease_end();
        lease_end.is_none_or(|lease_end| Instant::now() >= lease_end + more)
    }

    /// Returns how long the event waits for the circuit breaker of its type, if that is open.
    fn breaker_pause(&self) -> Option<Duration> {
        let (state, sequence) = (&self.shared.state, self.job.received.sequence);
        state.breakers.pause(self.event_type?, sequence, || state.unanswered(), self.random())
    }

    /// Gives up the probe that it was to be, if its handler did not run.
    fn give_up_probe(&mut self) {
        if std::mem::take(&mut self.is_probe)
            && let Some(event_type) = self.event_type
        {
            self.shared.state.breakers.give_up(event_type, self.job.received.sequence);
        }
    }

    /// Keeps the message and drops the claim: the next one is that of a new claimant.
    fn start_over(&mut self, what: Write) {
        match what {
            Write::Release(ending) | Write::Defer(ending) => self.log(ending),
            Write::Settle | Write::Forget(_) => self.log(Ending::Abandoned),
            Write::Isolate => {
                let consumer = &self.shared.name;
                limited!(self.shared.lines, warn, "event was being handled when its process died, twice: it is handled alone", %consumer, sequence = self.job.received.sequence);
            }
        }
        self.grant = None;
        let in_progress = &mut self.job.received.in_progress;
        in_progress.unclaimed();
        // Again, if it was handled and could not be settled.
        in_progress.enter(Stage::InFlight);
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
            Write::Defer(_) | Write::Isolate => store.defer(slot, grant.fence),
            Write::Forget(_) => store.forget(slot, grant.fence),
        };
        let written = self.bounded(call).await;
        let written = match written {
            Ok(()) => Written::Done,
            Err(Some(error)) if error.kind() == StoreErrorKind::Fenced => Written::Fenced,
            Err(_) => Written::Failed { is_last: self.is_last(what) },
        };
        Observed::Wrote(what, written)
    }

    /// Logs the ending, never the content of the event.
    fn log(&self, ending: Ending) {
        let failure = match ending {
            Ending::Handled | Ending::Duplicate | Ending::Returned | Ending::BehindStalled(_) => None,
            Ending::Deferred(_) if self.failure == NOT_RUN => None,
            Ending::Retried(_) | Ending::Deferred(_) | Ending::DeadLettered(_) => Some(self.failure),
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
            Ending::Deferred(delay) if self.failure == NOT_RUN => {
                tracing::debug!(%consumer, sequence, ?delay, "event waits for the circuit breaker");
            }
            Ending::Deferred(delay) => {
                let error = printable(&self.job.error);
                limited!(lines, info, "event is deferred, which costs no attempt", %consumer, sequence, attempt, error, ?delay);
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
