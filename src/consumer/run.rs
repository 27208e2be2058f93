//! The loop: has the pump work, looks after what it cannot see, and drains at shutdown.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind, ConsumeSummary, DurableConsumer,
        checks::{
            gap,
            inspector::{Inspector, permission_denied},
            unreadable,
        },
        receive::{
            dispatch::SharedIntake,
            pinned,
            pull::Puller,
            worker::{pump, send},
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

/// How often the loop looks for a lost request, and for a pump that stands still.
const TICK: Duration = Duration::from_millis(250);
/// A pump that polls one delivery for longer than this is replaced.
const STANDSTILL: Duration = Duration::from_millis(100);
/// How long cancelled handlers have to be given back after the grace.
const AFTER_GRACE: Duration = Duration::from_secs(5);

/// How long the connection has to take the last answers.
const AWAY: Duration = Duration::from_secs(2);

struct Running {
    consumer: DurableConsumer,
    shared: Arc<Shared>,
    intake: SharedIntake,
    /// The pump, and those that were replaced and still stand.
    pumps: JoinSet<()>,
    /// Reasons to stop, should there ever be one.
    verdicts: JoinSet<ConsumeError>,
    /// Something unanswered may not be here.
    gather: Arc<Notify>,
    connection: ConnectionLog,
}

impl DurableConsumer {
    /// Consumes until `shutdown` resolves, then drains: asks for nothing more, gives running handlers the grace, gives
    /// back what has not started, and returns what was done.
    ///
    /// Outages of the broker and of the dedupe store are waited out.
    ///
    /// # Errors
    ///
    /// [`ConsumerGone`](ConsumeErrorKind::ConsumerGone) when the durable or its stream was deleted,
    /// [`Mismatch`](ConsumeErrorKind::Mismatch) when somebody changed it so that a guarantee is broken,
    /// [`ConsumerAhead`](ConsumeErrorKind::ConsumerAhead) when the stream has lost its end and the durable is beyond it,
    /// [`PermissionDenied`](ConsumeErrorKind::PermissionDenied) when the server refuses what the consumer needs,
    /// [`Unavailable`](ConsumeErrorKind::Unavailable) when the connection is closed for good. What was running is
    /// drained before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the handlers where they stand, and no task outlives it. Nothing is lost: what was
    /// held is redelivered after the ack wait and, if it had been claimed, handled again after the lease.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<ConsumeSummary, ConsumeError> {
        let shared = Arc::clone(&self.shared);
        let _ended_when_dropped = shared.state.begin();
        let look = Arc::new(Notify::new());
        let mut verdicts = JoinSet::new();
        verdicts.spawn(permission_denied(self.watch.clone(), self.watch.now(), Arc::clone(&shared)));
        verdicts.spawn(Inspector::new(&self).inspect(Arc::clone(&look)));
        // What is pending is known soon after the start.
        look.notify_one();
        let mut shutdown = std::pin::pin!(shutdown);
        let puller = tokio::select! {
            // While the connection is away it may take as long as that.
            () = &mut shutdown => return Ok(ConsumeSummary::default()),
            opened = Puller::open(Arc::clone(&shared)) => {
                opened.map_err(|error| {
                    ConsumeError::new(ConsumeErrorKind::Unavailable, "inbox cannot be subscribed")
                        .caused_by(error)
                })?
            }
        };
        let mut beside = JoinSet::new();
        beside.spawn(Arc::clone(&shared.holds).keep_alive());
        beside.spawn(unreadable::watch(self.context.clone(), self.watch.clone(), Arc::clone(&shared)));
        verdicts.spawn(gap::watch(self.context.clone(), Arc::clone(&shared)));
        let gather = Arc::new(Notify::new());
        let intake = SharedIntake::new(Arc::clone(&shared), puller, look, Arc::clone(&gather));
        let connection = ConnectionLog::new(shared.client.clone());
        let pumps = JoinSet::new();
        let mut running = Running { consumer: self, shared, intake, pumps, verdicts, gather, connection };
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
        self.start_pump();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(ended) = self.pumps.join_next() => self.pump_ended(ended.is_err())?,
                Some(Ok(verdict)) = self.verdicts.join_next() => {
                    tracing::error!(consumer = %self.shared.name, error = %report(&verdict), "consumer has to stop");
                    return Err(verdict);
                }
                () = self.gather.notified() => self.begin_if_all_is_here().await,
                _ = ticks.tick() => self.look_after().await,
            }
        }
    }

    /// A pump that takes the place of any before.
    fn start_pump(&mut self) {
        let number = self.intake.lock().replace_pump();
        self.pumps.spawn(pump(number, self.intake.clone(), Arc::clone(&self.shared)));
    }

    fn pump_ended(&mut self, has_panicked: bool) -> Result<(), ConsumeError> {
        if self.intake.lock().is_closed {
            let closed =
                ConsumeError::new(ConsumeErrorKind::Unavailable, "connection to the broker is closed");
            return Err(closed.explained(self.consumer.watch.disconnected(&self.shared.client)));
        }
        if has_panicked {
            limited!(self.shared.lines, error, "receiving has panicked and goes on; what it held is redelivered", consumer = %self.shared.name);
            self.start_pump();
        }
        Ok(())
    }

    async fn look_after(&mut self) {
        self.shared.lines.report();
        self.connection.look(&self.shared.lines);
        let stands_still = {
            let mut intake = self.intake.lock();
            intake.look_after();
            intake.polls_longer_than(STANDSTILL)
        };
        if stands_still {
            limited!(self.shared.lines, warn, "handler blocks its thread", consumer = %self.shared.name);
            self.start_pump();
        }
        self.begin_if_all_is_here().await;
    }

    async fn begin_if_all_is_here(&mut self) {
        let gathering = self.intake.lock().gathering();
        if let Some(gathering) = gathering
            && pinned::is_all_here(&self.consumer).await
        {
            self.intake.lock().gathered(gathering);
        }
    }

    async fn drain(&mut self) -> ConsumeSummary {
        let shared = Arc::clone(&self.shared);
        shared.state.begin_drain();
        shared.drain.cancel();
        let puller = self.intake.lock().retire();
        // Given back only when nothing is asked for any more: else it would come back to us.
        if let Some(puller) = puller {
            let is_pinned = puller.is_pinned();
            let last_arrivals = puller.close().await;
            self.intake.lock().give_back_unseen(&last_arrivals);
            if is_pinned {
                pinned::step_down(&self.consumer).await;
            }
        }
        // Everything from here on is bounded: a connection that is away must not keep the service from ending.
        if timeout(AWAY, self.flush()).await.is_err() {
            tracing::warn!("events could not be given back; they are redelivered after the ack wait");
        }
        let _all_ended = timeout(shared.options.shutdown_grace, self.all_end()).await;
        shared.cancel.cancel();
        if timeout(AFTER_GRACE, self.all_end()).await.is_err() {
            let left = self.intake.lock().tasks.len() + self.pumps.len();
            tracing::error!(consumer = %shared.name, left, "handlers block their thread and are left");
        }
        let flushed = async {
            self.flush().await;
            shared.client.flush().await
        };
        if !matches!(timeout(AWAY, flushed).await, Ok(Ok(()))) {
            tracing::warn!("last answers could not be flushed; their events are redelivered");
        }
        shared.state.update_gauges();
        shared.state.counts()
    }

    /// Waits for all that has begun, and answers for it.
    async fn all_end(&mut self) {
        loop {
            self.flush().await;
            tokio::select! {
                Some(_) = self.pumps.join_next() => {}
                Some(finished) = poll_fn(|cx| self.intake.lock().tasks.poll_join_next(cx)) => {
                    self.intake.lock().joined(finished);
                    self.shared.state.update_gauges();
                }
                else => return,
            }
        }
    }

    async fn flush(&self) {
        let mut outgoing = self.intake.lock().take_outgoing(Vec::new());
        send(&self.shared, &mut outgoing).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A pump that stands still keeps the intake, and must not keep what runs beside it.
        self.intake.lock().abort();
    }
}
