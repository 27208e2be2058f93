//! A delivery on its way from its arrival to its end.

use super::{
    decide::Ending,
    process::{Received, Shared, process},
    reply::{terminate, verb},
    sequence::Lane,
};
use crate::{envelope::Envelope, telemetry::span};
use futures::{FutureExt, future::BoxFuture};
use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc};
use tracing::Instrument;

/// A delivery that may start.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) received: Received,
    /// What it holds, unless that is not valid, until a handler has taken it.
    pub(super) envelope: Option<Envelope>,
    /// Why it failed or is not valid, for its dead letter.
    pub(super) error: Cow<'static, str>,
    /// Where it takes its turn; what is not valid waits for nobody.
    pub(super) lane: Option<Lane>,
}

/// A delivery that has ended, and of which the server is yet to be told, unless it is terminated.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) job: Box<Job>,
    pub(super) ending: Ending,
}

impl Job {
    /// Processes it.
    pub(super) fn begin(mut self: Box<Self>, shared: Arc<Shared>) -> BoxFuture<'static, Finished> {
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

    /// Terminates what is dead-lettered. All else is told to the server together with what else has ended.
    async fn settle(&self, shared: &Shared, ending: Ending) {
        if matches!(ending, Ending::Retried(_) | Ending::Postponed(_) | Ending::Abandoned) {
            shared.arrivals.note_waiting(self.received.sequence);
        }
        let Some(verb) = verb(ending) else { return };
        let span = span::settle(self.received.delivered(shared), verb);
        if let Ending::DeadLettered(reason) = ending {
            self.received.hold.disown();
            let terminated = terminate(shared, self.received.reply.clone(), reason.as_str());
            Box::pin(terminated.instrument(span)).await;
        }
    }
}
