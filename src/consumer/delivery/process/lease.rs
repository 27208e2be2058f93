//! Renewing the lease of a delivery while its handler runs.
//!
//! The renewal runs in the task of the handler: one that blocks its thread stops it, and loses its claim as the handler
//! of a dead process does. Heartbeats go on for as long as the lease does.

use crate::{
    consumer::delivery::process::{InProcess, LONGEST_STORE_CALL},
    dedupe::StoreErrorKind,
    report::report,
    telemetry::log_limit::limited,
};
use futures::poll;
use std::task::Poll;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The reason why a handler was dropped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    /// The shutdown grace ended.
    AtShutdown,
    /// Another worker has the event, or can have it.
    LeaseLost,
}

impl InProcess<'_> {
    /// Returns the result of `handler`, and renews the lease until then; unless the lease is lost or the shutdown grace
    /// ends before. A result that is ready needs no timer.
    pub(super) async fn while_leased<T>(
        &self,
        mut handler: impl Future<Output = T> + Unpin,
    ) -> Result<T, Dropped> {
        match poll!(&mut handler) {
            Poll::Ready(result) => Ok(result),
            Poll::Pending => {
                Box::pin(async {
                    tokio::select! {
                        result = handler => Ok(result),
                        () = self.shared.cancel.cancelled() => Err(Dropped::AtShutdown),
                        () = self.until_lease_lost() => Err(Dropped::LeaseLost),
                    }
                })
                .await
            }
        }
    }

    /// Renews the lease every quarter of it, and returns once it is lost.
    async fn until_lease_lost(&self) {
        let (Some(slot), Some(grant)) = (&self.slot, self.grant) else { return };
        let in_progress = &self.job.received.in_progress;
        let (lease, every) = (self.shared.options.lease(), in_progress.heartbeat_interval());
        let mut next = in_progress.lease_end().and_then(|end| end.checked_sub(lease.saturating_sub(every)));
        loop {
            sleep_until(next.unwrap_or_else(Instant::now)).await;
            let now = Instant::now();
            let Some(lease_end) = in_progress.lease_end().filter(|end| now < *end) else { return };
            let renewed = timeout_at(
                lease_end.min(now + LONGEST_STORE_CALL),
                self.shared.store.renew(slot, grant.fence, lease),
            );
            let error = match renewed.await {
                Ok(Ok(())) => {
                    // Counted from before the call, so that it ends here no later than in the store.
                    in_progress.claimed(now + lease);
                    next = Some(now + every);
                    continue;
                }
                Ok(Err(error)) if error.kind() == StoreErrorKind::Fenced => return,
                Ok(Err(error)) => report(&error).to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            limited!(self.shared.lines, warn, "lease was not renewed", consumer = %self.shared.name, error);
            next = Some(lease_end.min(Instant::now() + every / 4));
        }
    }
}
