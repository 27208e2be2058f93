//! Parking a delivery behind a dead letter of its unit, and letting the next one follow it.

use crate::{
    consumer::delivery::process::{DEAD_LETTER_BUDGET, Ending, InProcess, Observed, pause},
    dead_letter::DeadLetterReason,
    report::report,
    telemetry::log_limit::limited,
};
use std::time::Duration;
use tokio::time::timeout;

/// The pause before a dead letter that could not be redriven or removed is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

impl InProcess<'_> {
    /// Looks whether the event is to be parked, and decides so; returns why that is not known.
    ///
    /// A parked event is claimed like one whose dead letter was decided before: it may have been handled already.
    pub(super) async fn find_place(&mut self) -> Option<Observed> {
        let (Some(parking), Some(place)) = (&self.shared.parking, &self.place) else { return None };
        if self.postponed.is_some_and(|reason| reason != DeadLetterReason::Parked) {
            return None;
        }
        let Some(found) = Box::pin(self.unless_disturbed(parking.blocked(place))).await else {
            return Some(Observed::Draining);
        };
        match found {
            Ok(blocked) => {
                self.postponed = blocked.as_ref().map(|_| DeadLetterReason::Parked);
                self.has_letter = blocked.as_ref().is_some_and(|blocked| blocked.is_stored);
                if let Some(blocked) = blocked {
                    (self.job.error, self.failure) = (blocked.why.into(), "parked");
                }
                None
            }
            Err(error) => {
                self.failed_claims = self.failed_claims.saturating_add(1);
                limited!(self.shared.lines, warn, "dead letters of a unit could not be read", consumer = %self.shared.name, error = %report(&error));
                Some(Observed::ClaimFailed { failures: self.failed_claims })
            }
        }
    }

    /// Lets the next event of the unit follow one that was handled, before that one is acknowledged. If it cannot be
    /// done the event comes again, and is then known to be handled.
    pub(super) async fn let_next_follow(&self, ending: Ending) -> Ending {
        let (Some(parking), Some(place)) = (&self.shared.parking, &self.place) else { return ending };
        if !matches!(ending, Ending::Handled | Ending::Duplicate) {
            return ending;
        }
        let follows = async {
            while let Err(error) = parking.settled(place).await {
                limited!(self.shared.lines, warn, "next event of a unit could not be redriven", consumer = %self.shared.name, error = %report(&error));
                pause(AGAIN_AFTER).await;
            }
        };
        let done = self.shared.cancel.run_until_cancelled(timeout(DEAD_LETTER_BUDGET, Box::pin(follows)));
        match done.await {
            Some(Ok(())) => ending,
            Some(Err(_)) | None => Ending::Abandoned,
        }
    }
}
