//! Claiming the slot of a delivery, once its handler may begin.

use crate::{
    consumer::delivery::{
        breaker::Admission,
        company::Presence,
        decide::{Observed, counted},
        process::{Claimed, InProcess, pause},
    },
    dedupe::{Claim, StoreErrorKind},
    report::report,
    telemetry::log_limit::limited,
};
use std::time::Duration;
use tokio::time::Instant;

impl<'a> InProcess<'a> {
    pub(super) async fn claim(&mut self, after: Duration, alone: bool) -> Observed {
        self.presence = None;
        self.give_up_probe();
        if !after.is_zero() {
            let _is_over = self.unless_disturbed(pause(after)).await;
        }
        if self.may_not_begin() {
            return Observed::Draining;
        }
        if let Some(unknown) = self.find_place().await {
            return unknown;
        }
        if !self.is_admitted() {
            return Observed::NotAdmitted;
        }
        self.presence = self.join(alone).await;
        let Some(slot) = self.slot.as_ref().filter(|_| self.presence.is_some()) else {
            return Observed::Draining;
        };
        let lease = self.shared.options.lease();
        let lease_end = Instant::now() + lease;
        match self.bounded(self.shared.store.claim(slot, lease)).await {
            Ok(claim) => {
                if self.shared.state.set_store_up(true) {
                    limited!(self.shared.lines, info, "dedupe store answers again", consumer = %self.shared.name);
                }
                self.failed_claims = 0;
                if let Claim::Acquired { fence, attempt, lapsed } = claim {
                    self.grant = Some(Claimed { fence, attempt: counted(attempt, lapsed) });
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
                limited!(self.shared.lines, warn, "dedupe store did not answer a claim: the event waits until it does", consumer = %self.shared.name, error);
                Observed::ClaimFailed { failures: self.failed_claims }
            }
        }
    }

    /// Asks the circuit breaker, unless no handler is to run since the event is to be dead-lettered.
    fn is_admitted(&mut self) -> bool {
        let Some(event_type) = self.event_type.filter(|_| self.postponed.is_none()) else { return true };
        let sequence = self.job.received.sequence;
        match self.shared.state.breakers.admit(event_type, sequence) {
            Admission::Run => {}
            Admission::Probe => self.is_probe = true,
            Admission::Wait => {
                self.pause = self.breaker_pause();
                // Closed in this very moment: no pause.
                return self.pause.is_none();
            }
        }
        true
    }

    /// Joins those that hold a claim, or waits to be alone; `None` if nothing more may begin.
    async fn join(&self, alone: bool) -> Option<Presence<'a>> {
        let company = &self.shared.company;
        if !alone && let Some(presence) = company.try_join() {
            return Some(presence);
        }
        let joins = async move { if alone { company.be_alone().await } else { company.join().await } };
        Box::pin(self.unless_disturbed(joins)).await
    }

    /// Returns the result of `future`, unless a shutdown begins before or another process may have the event.
    pub(super) async fn unless_disturbed<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = future => Some(result),
            () = self.shared.drain.cancelled() => None,
            () = self.job.received.in_progress.until_uncertain() => None,
        }
    }
}
