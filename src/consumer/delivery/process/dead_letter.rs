//! Writing the dead letter of a delivery, or keeping in mind what it is to say.

use crate::{
    consumer::delivery::{
        job::Received,
        postponed::Decision,
        process::{DEAD_LETTER_BUDGET, InProcess, Observed},
    },
    dead_letter::{DeadLetterReason, DeadLetterRecord},
    report::report,
    telemetry::log_limit::limited,
};
use tokio::time::Instant;

impl InProcess<'_> {
    pub(super) async fn dead_letter(&mut self, reason: DeadLetterReason) -> Observed {
        if reason == DeadLetterReason::Parked && self.has_letter {
            return Observed::DeadLettered { reason, stored: true };
        }
        let Received { message, sequence, deliveries, .. } = &self.job.received;
        let record = DeadLetterRecord {
            consumer: self.shared.name.as_str(),
            reason,
            error: &self.job.error,
            deliveries: *deliveries,
            stream: self.shared.stream,
            sequence: *sequence,
            subject: &message.subject,
            headers: message.headers.as_ref().into(),
            payload: &message.payload,
            unit: self.place.as_ref().map(|place| place.unit.as_str()),
            lines: &self.shared.lines,
        };
        let budget_end = Instant::now() + DEAD_LETTER_BUDGET;
        let lease_end = self.job.received.in_progress.lease_end();
        let deadline = lease_end.map_or(budget_end, |lease_end| lease_end.min(budget_end));
        let stored =
            self.shared.cancel.run_until_cancelled(record.store(&self.shared.publisher, deadline)).await;
        if let Some(Err(error)) = &stored {
            limited!(self.shared.lines, error, "dead letter could not be stored", consumer = %self.shared.name, sequence, error = %report(error));
        }
        let Some(Ok(receipt)) = stored else {
            self.keep(reason);
            return Observed::DeadLettered { reason, stored: false };
        };
        if let (Some(parking), Some(place)) = (&self.shared.parking, &self.place) {
            parking.stored(place, receipt.sequence(), &self.shared.lines).await;
        }
        Observed::DeadLettered { reason, stored: true }
    }

    /// Keeps why the event is dead-lettered, so that its handler is not asked again. What is not valid is found to be
    /// so every time.
    fn keep(&mut self, reason: DeadLetterReason) {
        self.postponed = Some(reason);
        // What is to be parked may be the first of its unit when it comes again.
        let slot = self.slot.as_ref().filter(|_| reason != DeadLetterReason::Parked);
        if let Some(slot) = slot {
            let (error, failure) = (self.job.error.clone().into_owned(), self.failure);
            let decision = Decision { key: slot.key(), reason, error, failure };
            self.shared.postponed.keep(self.job.received.sequence, decision);
        }
    }

    /// Takes up what was decided in an earlier delivery.
    pub(super) fn take_up_decision(&mut self) {
        // Most deliveries are the first of their event.
        let Some(slot) = self.slot.as_ref().filter(|_| self.job.received.deliveries > 1) else { return };
        if let Some(decision) = self.shared.postponed.find(self.job.received.sequence, slot.key()) {
            self.postponed = Some(decision.reason);
            (self.job.error, self.failure) = (decision.error.into(), decision.failure);
        }
    }

    /// Drops what was decided, once it is written down or another process has handled the event.
    pub(super) fn drop_decision(&self) {
        if self.postponed.is_some() {
            self.shared.postponed.drop(self.job.received.sequence);
        }
    }
}
