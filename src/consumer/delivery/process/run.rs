//! Running the handler of a delivery.

use crate::{
    consumer::{
        Delivery, HandlerError,
        delivery::{
            breaker::{Change, Verdict},
            decide::{Observed, Outcome},
            in_progress::Stage,
            process::{InProcess, by, lease::Dropped},
        },
        handler,
    },
    contract::{envelope::Envelope, event::EventType, subject::is_redriven},
    telemetry::log_limit::limited,
};
use futures::FutureExt;
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    time::Duration,
};
use tokio::time::{Instant, error::Elapsed};

/// The end of a handler: dropped, timed out, panicked, or with its result.
type Ended = Result<Result<std::thread::Result<Result<(), HandlerError>>, Elapsed>, Dropped>;

impl InProcess<'_> {
    pub(super) async fn run(&mut self) -> Observed {
        // The claim took its time.
        if self.may_not_begin() {
            return Observed::Draining;
        }
        // Taken by an earlier run, if it is retried in place.
        let envelope = self.job.envelope.take().or_else(|| self.decode_again());
        let (Some(grant), Some(slot), Some(envelope)) = (self.grant, self.slot.clone(), envelope) else {
            return Observed::Draining;
        };
        let (event_type, sequence) = (envelope.event_type(), self.job.received.sequence);
        if !self.is_probe {
            self.pause = self.breaker_pause();
            if self.pause.is_some() {
                return Observed::NotAdmitted;
            }
        }
        let Some(handler) = self.shared.handlers.get(event_type) else {
            (self.job.error, self.failure) = (format!("no handler for {event_type}").into(), "no_handler");
            return Observed::Handled(Outcome::Rejected);
        };
        let time = self.shared.options.processing_timeout();
        let subject = &self.job.received.message.subject;
        let begun = Instant::now();
        let ends_at = begun + time;
        let delivery = Delivery {
            envelope,
            attempt: grant.attempt,
            sequence,
            feed: self.shared.feed,
            is_redriven: is_redriven(subject),
            epoch: self.job.epoch,
            slot,
            fence: grant.fence,
            ends_at,
        };
        // It may panic before it has made its future, too.
        let ended = match catch_unwind(AssertUnwindSafe(|| handler(delivery))) {
            Ok(future) => {
                let handled = AssertUnwindSafe(future).catch_unwind();
                self.while_leased(pin!(by(|| ends_at, handled))).await
            }
            Err(panic) => Ok(Ok(Err(panic))),
        };
        let (outcome, failure, error) = outcome(ended, time);
        (self.job.error, self.failure) = (error, failure);
        self.shared.state.meter.ran(event_type, begun, outcome == Outcome::Done);
        self.tell_breaker(event_type, outcome);
        if outcome == Outcome::Done {
            self.job.received.in_progress.enter(Stage::Settles);
        }
        Observed::Handled(outcome)
    }

    /// Records the outcome with the circuit breaker, and learns from it whether the failure is the event's.
    fn tell_breaker(&mut self, event_type: EventType, outcome: Outcome) {
        let verdict = match outcome {
            Outcome::Done => Verdict::Success,
            Outcome::Failed(_) => Verdict::Failure,
            Outcome::Away(known) => Verdict::Away(known),
            Outcome::Rejected | Outcome::Cancelled => Verdict::Unknown,
        };
        self.is_probe = false;
        let (shared, sequence, random) = (self.shared, self.job.received.sequence, self.random());
        let breakers = &shared.state.breakers;
        let consumer = &shared.name;
        match breakers.record(event_type, sequence, verdict, random) {
            None => {}
            Some(Change::Opened(cause)) => {
                shared.state.meter.breaker(event_type, true);
                limited!(shared.lines, warn, "circuit breaker opened: handlers of this type are probed one at a time until one succeeds", %consumer, %event_type, cause = cause.as_str());
            }
            Some(Change::Closed { was_open_for }) => {
                shared.state.meter.breaker(event_type, false);
                limited!(shared.lines, info, "circuit breaker closed", %consumer, %event_type, ?was_open_for);
            }
        }
        self.pause = match verdict {
            Verdict::Failure | Verdict::Away(_) => self.breaker_pause(),
            Verdict::Success | Verdict::Unknown => None,
        };
    }

    fn decode_again(&self) -> Option<Envelope> {
        let message = &self.job.received.message;
        let max_bytes = self.shared.options.max_envelope_bytes;
        Envelope::decode_at_most(max_bytes, &message.subject, &message.payload).ok()
    }
}

/// Returns the outcome, the failure in one word, and the error for a dead letter.
fn outcome(ended: Ended, time: Duration) -> (Outcome, &'static str, Cow<'static, str>) {
    match ended {
        Err(Dropped::AtShutdown) => (Outcome::Cancelled, "cancelled", "cancelled at shutdown".into()),
        Err(Dropped::LeaseLost) => {
            (Outcome::Cancelled, "lease_lost", "lease was lost while the handler ran".into())
        }
        Ok(Err(_elapsed)) => {
            (Outcome::Failed(None), "timeout", format!("handler did not end within {time:?}").into())
        }
        Ok(Ok(Err(_panic))) => (Outcome::Failed(None), "panic", "handler panicked".into()),
        Ok(Ok(Ok(Ok(())))) => (Outcome::Done, "", "".into()),
        Ok(Ok(Ok(Err(error)))) => {
            let (outcome, failure) = match error.verdict() {
                handler::Verdict::Retry(delay) => (Outcome::Failed(delay), "handler_error"),
                handler::Verdict::Defer(delay) => (Outcome::Away(delay), "deferred"),
                handler::Verdict::Reject => (Outcome::Rejected, "rejected"),
            };
            (outcome, failure, error.to_string().into())
        }
    }
}
