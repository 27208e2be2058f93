//! Collecting deliveries, and finding the one for which a batch fails.
//!
//! Each delivery waits in its own task, with its claim, its lease and its timeout, as for a handler of its own. Only
//! the call is shared. So whatever ends a delivery takes it out of its batch, and the dedupe store counts attempts as
//! ever.

use crate::{
    consumer::{
        Delivery, HandlerError,
        batch::{
            BatchOptions,
            members::{Member, Members},
        },
        handler::Verdict,
    },
    contract::event::Event,
    telemetry::span,
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

type BatchHandler<E> = dyn Fn(Vec<Delivery<E>>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync;

/// The batches of one handler.
pub(in crate::consumer) struct Batches<E> {
    options: BatchOptions,
    handler: Box<BatchHandler<E>>,
    forming: Mutex<Forming<E>>,
}

/// The batch that is being collected.
struct Forming<E> {
    /// The number of the batch.
    number: u64,
    members: Members<E>,
}

/// The end of a call.
enum Called {
    Succeeded,
    Failed(HandlerError),
    /// A member was gone before it ended.
    Disturbed,
}

impl<E: Event> Batches<E> {
    pub(in crate::consumer) fn new<F, Fut>(options: BatchOptions, handler: F) -> Arc<Self>
    where
        F: Fn(Vec<Delivery<E>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let forming = Mutex::new(Forming { number: 0, members: Members::new() });
        Arc::new(Self { options, handler: Box::new(move |batch| handler(batch).boxed()), forming })
    }

    /// Handles the delivery together with others.
    pub(in crate::consumer) async fn handle(
        self: Arc<Self>,
        delivery: Delivery<E>,
    ) -> Result<(), HandlerError> {
        let (member, answered) = Member::new(delivery);
        self.join(member);
        answered.await.unwrap_or_else(|_| Err(HandlerError::retry("batch was dropped")))
    }

    fn join(self: &Arc<Self>, member: Member<E>) {
        let mut forming = self.forming();
        forming.members.push(member);
        let (number, count) = (forming.number, forming.members.len());
        let full = (count == self.options.max_events).then(|| forming.take());
        drop(forming);
        if let Some(full) = full {
            tokio::spawn(Arc::clone(self).run(full));
        } else if count == 1 {
            tokio::spawn(Arc::clone(self).run_in_time(number));
        }
    }

    /// Runs the batch of this number once its time is over, unless it was full before.
    async fn run_in_time(self: Arc<Self>, number: u64) {
        sleep(self.options.max_wait).await;
        let collected = {
            let mut forming = self.forming();
            if forming.number != number {
                return;
            }
            forming.take()
        };
        self.run(collected).await;
    }

    /// Calls the handler, and again with each half of a batch that fails, until the one it fails for is alone. Both
    /// halves run at once: however many of them hang, there is time for all halvings.
    fn run(self: Arc<Self>, mut members: Members<E>) -> BoxFuture<'static, ()> {
        let run = async move {
            while members.keep_present() {
                match self.call(&mut members).await {
                    Called::Succeeded => return members.succeed(),
                    Called::Disturbed => {}
                    Called::Failed(error) if members.len() == 1 || is_about_all(&error) => {
                        return members.fail(error);
                    }
                    Called::Failed(_) => {
                        tokio::spawn(Arc::clone(&self).run(members.split()));
                    }
                }
            }
        };
        run.boxed()
    }

    async fn call(&self, members: &mut Members<E>) -> Called {
        let limit = members.limit();
        let batch = members.deliveries();
        let span = members.open_span();
        let handler = AssertUnwindSafe(async { (self.handler)(batch).await }).catch_unwind();
        let (error, word) = tokio::select! {
            ended = timeout(limit, handler.instrument(span.clone())) => match ended {
                Ok(Ok(Ok(()))) => return Called::Succeeded,
                Ok(Ok(Err(error))) => (error, "handler_error"),
                Ok(Err(_panic)) => (HandlerError::retry("handler panicked"), "panic"),
                Err(_elapsed) => (HandlerError::retry(format!("batch did not end within {limit:?}")), "timeout"),
            },
            () = members.one_is_gone() => return Called::Disturbed,
        };
        span::failed(&span, word);
        Called::Failed(error)
    }

    fn forming(&self) -> MutexGuard<'_, Forming<E>> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Forming<E> {
    fn take(&mut self) -> Members<E> {
        self.number += 1;
        std::mem::replace(&mut self.members, Members::new())
    }
}

/// Returns whether the error is about none of the events: what the handler depends on is away.
fn is_about_all(error: &HandlerError) -> bool {
    matches!(error.verdict(), Verdict::Defer(_))
}
