//! The loop: starts the worker, checks for what it cannot notice itself, and drains at shutdown.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind, ConsumeSummary, DurableConsumer,
        checks::{
            gap,
            inspector::{Inspector, permission_denied},
            unreadable,
        },
        receive::{
            dispatch::SharedDispatcher,
            pinned,
            pull::Puller,
            worker::{send, work},
        },
        shared::Shared,
    },
    nats::connection_log::ConnectionLog,
    report::report,
    telemetry::log_limit::limited,
};
use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// The interval of the checks for lost pull requests and stalled workers.
const TICK: Duration = Duration::from_millis(250);
/// A worker that polls one delivery for longer than this is replaced.
const STALLED_AFTER: Duration = Duration::from_millis(100);
/// The time for cancelled handlers to be given back after the grace.
const AFTER_GRACE: Duration = Duration::from_secs(5);

/// The time for the connection to take the last answers.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

struct Running {
    consumer: DurableConsumer,
    shared: Arc<Shared>,
    dispatcher: SharedDispatcher,
    /// The worker, and stalled ones that it has replaced.
    workers: JoinSet<()>,
    /// Checks that end with a reason to stop.
    verdicts: JoinSet<ConsumeError>,
    /// The barrier was raised.
    check_barrier: Arc<Notify>,
    connection: ConnectionLog,
}

impl DurableConsumer {
    /// Consumes until `shutdown` resolves, then drains: asks for nothing more, gives running handlers the grace, gives
    /// back what has not started, and returns the counts.
    ///
    /// Outages of the broker and of the dedupe store are waited out, and so are those of what handlers depend on, for
    /// as long as a [circuit breaker](crate::CircuitBreaker) is open.
    ///
    /// # Errors
    ///
    /// [`ConsumerGone`](ConsumeErrorKind::ConsumerGone) when the durable or its stream was deleted,
    /// [`Mismatch`](ConsumeErrorKind::Mismatch) when it was changed so that a guarantee is broken,
    /// [`ConsumerAhead`](ConsumeErrorKind::ConsumerAhead) when the stream has lost its end and the durable is beyond
    /// it, [`PermissionDenied`](ConsumeErrorKind::PermissionDenied) when the server refuses what the consumer needs,
    /// [`Unavailable`](ConsumeErrorKind::Unavailable) when the connection is closed for good. What was running is
    /// drained before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the handlers where they are, and no task outlives it. Nothing is lost: messages in
    /// flight are redelivered after the ack wait and, if they were claimed, handled again after lease expiry. Their
    /// claims expire as those of a process that died, which from the third time on costs an attempt; a shutdown costs
    /// none.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<ConsumeSummary, ConsumeError> {
        let shared = Arc::clone(&self.shared);
        let _ended_when_dropped = shared.state.begin();
        let inspect = Arc::new(Notify::new());
        let mut verdicts = JoinSet::new();
        let (context, watch) = (self.context.clone(), self.watch.clone());
        verdicts.spawn(permission_denied(context, watch, self.watch.now(), Arc::clone(&shared)));
        verdicts.spawn(Inspector::new(&self).inspect(Arc::clone(&inspect)));
        // What is pending is known soon after the start.
        inspect.notify_one();
        let mut shutdown = std::pin::pin!(shutdown);
        let puller = tokio::select! {
            // While the connection is away it may take as long as that.
            () = &mut shutdown => return Ok(ConsumeSummary::default()),
            opened = Puller::open(&self.context, Arc::clone(&shared)) => {
                opened.map_err(|error| {
                    ConsumeError::new(ConsumeErrorKind::Unavailable, "inbox cannot be subscribed")
                        .caused_by(error)
                })?
            }
        };
        let mut beside = JoinSet::new();
        beside.spawn(Arc::clone(&shared.in_progress).send_heartbeats());
        beside.spawn(unreadable::watch(self.context.clone(), self.watch.clone(), Arc::clone(&shared)));
        verdicts.spawn(gap::watch(self.context.clone(), Arc::clone(&shared)));
        let check_barrier = Arc::new(Notify::new());
        let dispatcher =
            SharedDispatcher::new(Arc::clone(&shared), puller, inspect, Arc::clone(&check_barrier));
        if let Some(parking) = &shared.parking {
            let (loaded, lines) = (Arc::clone(&check_barrier), Arc::clone(&shared.lines));
            beside.spawn(Arc::clone(parking).keep_loaded(loaded, lines));
        }
        let connection = ConnectionLog::new(shared.client.clone());
        let workers = JoinSet::new();
        let mut running =
            Running { consumer: self, shared, dispatcher, workers, verdicts, check_barrier, connection };
        let stopped = running.consume(shutdown).await;
        let summary = running.drain().await;
        stopped.map(|()| summary)
    }
}

impl Running {
    async fn consume(
        &mut self,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), ConsumeError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.start_worker();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(ended) = self.workers.join_next() => self.worker_ended(ended.is_err())?,
                Some(Ok(verdict)) = self.verdicts.join_next() => {
                    tracing::error!(consumer = %self.shared.name, error = %report(&verdict), "consumer has to stop");
                    return Err(verdict);
                }
                () = self.check_barrier.notified() => self.begin_if_caught_up().await,
                _ = ticks.tick() => self.check().await,
            }
        }
    }

    /// Starts a worker that replaces the present one.
    fn start_worker(&mut self) {
        let number = self.dispatcher.lock().replace_worker();
        self.workers.spawn(work(number, self.dispatcher.clone(), Arc::clone(&self.shared)));
    }

    fn worker_ended(&mut self, has_panicked: bool) -> Result<(), ConsumeError> {
        if self.dispatcher.lock().is_closed {
            let closed =
                ConsumeError::new(ConsumeErrorKind::Unavailable, "connection to the broker is closed");
            return Err(closed.explained(self.consumer.watch.disconnected(&self.shared.client)));
        }
        if has_panicked {
            limited!(self.shared.lines, error, "worker panicked and was restarted; its messages in flight will be redelivered", consumer = %self.shared.name);
            self.start_worker();
        }
        Ok(())
    }

    async fn check(&mut self) {
        self.shared.lines.report();
        self.connection.look(&self.shared.lines);
        let is_stalled = {
            let mut dispatcher = self.dispatcher.lock();
            dispatcher.check();
            dispatcher.budget.polls_longer_than(STALLED_AFTER)
        };
        if is_stalled {
            limited!(self.shared.lines, warn, "handler blocks its thread", consumer = %self.shared.name);
            self.start_worker();
        }
        self.begin_if_caught_up().await;
    }

    async fn begin_if_caught_up(&mut self) {
        let barrier = self.dispatcher.lock().barrier();
        if let Some(barrier) = barrier
            && self.shared.parking.as_ref().is_none_or(|parking| parking.is_loaded())
            && pinned::is_caught_up(&self.consumer).await
        {
            self.dispatcher.lock().caught_up(barrier);
        }
    }

    async fn drain(&mut self) -> ConsumeSummary {
        let shared = Arc::clone(&self.shared);
        shared.state.begin_drain();
        shared.drain.cancel();
        let puller = self.dispatcher.lock().drain();
        let mut last_arrivals = Vec::new();
        if let Some(mut puller) = puller {
            self.unpin(&mut puller).await;
            last_arrivals = puller.close().await;
            // A request from before the pin may have pinned it again.
            self.unpin(&mut puller).await;
        }
        self.dispatcher.lock().give_back(&last_arrivals);
        // All that follows is bounded in time: a lost connection must not keep the service from ending.
        if timeout(FLUSH_TIMEOUT, self.flush()).await.is_err() {
            tracing::warn!("events could not be given back; they are redelivered after the ack wait");
        }
        let _all_ended = timeout(shared.options.shutdown_grace, self.all_end()).await;
        shared.cancel.cancel();
        if timeout(AFTER_GRACE, self.all_end()).await.is_err() {
            let left = self.dispatcher.lock().tasks.len() + self.workers.len();
            tracing::error!(consumer = %shared.name, left, "abandoning handlers that still block their thread");
        }
        let flushed = async {
            self.flush().await;
            shared.client.flush().await
        };
        if !matches!(timeout(FLUSH_TIMEOUT, flushed).await, Ok(Ok(()))) {
            tracing::warn!("last answers could not be flushed; their events are redelivered");
        }
        shared.state.update_gauges();
        shared.state.counts()
    }

    async fn unpin(&self, puller: &mut Puller) {
        if puller.is_pinned() {
            puller.unpinned();
            pinned::unpin(&self.consumer).await;
        }
    }

    /// Waits until all that has begun has ended, and sends the answers.
    async fn all_end(&mut self) {
        loop {
            self.flush().await;
            tokio::select! {
                Some(_) = self.workers.join_next() => {}
                Some(finished) = poll_fn(|cx| self.dispatcher.lock().tasks.poll_join_next(cx)) => {
                    self.dispatcher.lock().joined(finished);
                    self.shared.state.update_gauges();
                }
                else => return,
            }
        }
    }

    async fn flush(&self) {
        let mut outgoing = self.dispatcher.lock().take_outgoing(Vec::new());
        send(&self.shared, &mut outgoing).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A stalled worker keeps the dispatcher, and must not keep other deliveries running.
        self.dispatcher.lock().abort();
        // A monitor may live on, and what it holds with it.
        self.shared.lines.report_all();
    }
}
