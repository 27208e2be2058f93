//! The task that takes deliveries from the intake and polls them in place, for as long as they end at once.
//!
//! A task for each delivery costs more than a quick handler does. Handlers that wait get one, and so do those that keep
//! the thread; one that blocks it holds up nothing for long, since another pump takes the place of this one.

use crate::{
    consumer::{
        receive::dispatch::{SharedIntake, Turn},
        shared::Shared,
    },
    telemetry::log_limit::limited,
};
use async_nats::{client::traits::Publisher, message::OutboundMessage};
use futures::poll;
use std::{future::poll_fn, sync::Arc, task::Poll};
use tokio::task::coop::unconstrained;

/// Empties the intake until another pump takes its place.
pub(crate) async fn pump(number: u64, intake: SharedIntake, shared: Arc<Shared>) {
    let mut outgoing = Vec::new();
    // A turn is short by itself, and leaves what tokio allows a task at a time to the handlers.
    while unconstrained(poll_fn(|cx| intake.lock().poll_turn(number, cx))).await == Turn::Work {
        work(number, &intake, &shared).await;
        outgoing = intake.lock().take_outgoing(outgoing);
        send(&shared, &mut outgoing).await;
        // The task of the connection was woken on this thread, and no other thread takes it from here: before a
        // handler is polled that might block, it has to run.
        let_others_run().await;
    }
    let mut rest = intake.lock().take_outgoing(outgoing);
    send(&shared, &mut rest).await;
}

/// Unlike the `yield_now` of tokio it does not look for input and output before, which costs more than a turn saves.
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
async fn work(number: u64, intake: &SharedIntake, shared: &Arc<Shared>) {
    let mut finished = None;
    loop {
        let Some(job) = intake.lock().next(number, finished.take()) else { return };
        let mut begun = job.begin(Arc::clone(shared));
        match poll!(&mut begun) {
            Poll::Ready(ended) => finished = Some(ended),
            Poll::Pending => return intake.lock().spawn(number, begun),
        }
    }
}

/// Tells the server; nothing is sent here that the server would not miss, and be told again.
pub(crate) async fn send(shared: &Shared, outgoing: &mut Vec<OutboundMessage>) {
    for message in outgoing.drain(..) {
        if let Err(error) = shared.client.publish_message(message).await {
            limited!(shared.lines, warn, "answer to a delivery could not be sent", %error);
        }
    }
}
