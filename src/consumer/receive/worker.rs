//! The worker: a task that takes deliveries from the dispatcher and polls them in place, for as long as they end at
//! once.
//!
//! A task for each delivery costs more than a quick handler does. Handlers that wait get one, and so do those that keep
//! the thread; one that blocks it delays others only briefly, since another worker replaces the stalled one.

use crate::{
    consumer::{
        receive::dispatch::{SharedDispatcher, Turn},
        shared::Shared,
    },
    telemetry::log_limit::limited,
};
use async_nats::{client::traits::Publisher, message::OutboundMessage};
use futures::poll;
use std::{future::poll_fn, sync::Arc, task::Poll};
use tokio::task::coop::unconstrained;

/// Works until another worker replaces this one.
pub(crate) async fn work(number: u64, dispatcher: SharedDispatcher, shared: Arc<Shared>) {
    let mut outgoing = Vec::new();
    // A turn is short by itself, and leaves the budget that tokio gives a task to the handlers.
    while unconstrained(poll_fn(|cx| dispatcher.lock().poll_turn(number, cx))).await == Turn::Work {
        poll_deliveries(number, &dispatcher, &shared).await;
        outgoing = dispatcher.lock().take_outgoing(outgoing);
        send(&shared, &mut outgoing).await;
        // The task of the connection was woken on this thread, and no other thread takes it from here: before a
        // handler is polled that might block, it has to run.
        let_others_run().await;
    }
    let mut rest = dispatcher.lock().take_outgoing(outgoing);
    send(&shared, &mut rest).await;
}

/// Yields once. Unlike the `yield_now` of tokio it does not poll for I/O first, which costs more than a turn saves.
async fn let_others_run() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls deliveries in place, until the turn is over or one has to wait.
async fn poll_deliveries(number: u64, dispatcher: &SharedDispatcher, shared: &Arc<Shared>) {
    let mut finished = None;
    loop {
        let Some(job) = dispatcher.lock().next(number, finished.take()) else { return };
        let mut begun = job.begin(Arc::clone(shared));
        match poll!(&mut begun) {
            Poll::Ready(ended) => finished = Some(ended),
            Poll::Pending => return dispatcher.lock().spawn(number, begun),
        }
    }
}

/// Sends answers and requests. A lost one costs a redelivery or a later request, and nothing else.
pub(crate) async fn send(shared: &Shared, outgoing: &mut Vec<OutboundMessage>) {
    for message in outgoing.drain(..) {
        if let Err(error) = shared.client.publish_message(message).await {
            limited!(shared.lines, warn, "answer to a delivery could not be sent", %error);
        }
    }
}
