//! The loop: receives, starts what may start, counts what ended, and drains at shutdown.

use super::{
    ConsumeError, ConsumeErrorKind, ConsumeSummary, DurableConsumer, Order,
    decide::Ending,
    expiry::GapWatch,
    inspector::{Inspector, permission_denied},
    process::{Received, Shared, process},
    pull::{Arrival, Puller},
    reply::reply,
    sequence::{Entrant, Sequencer},
    takeover,
};
use crate::{
    envelope::{DecodeError, Envelope},
    event::Event,
    uri::UnitUri,
};
use async_nats::{Message, jetstream};
use futures::{FutureExt, future::join_all};
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// How often the loop looks for a lost request.
const TICK: Duration = Duration::from_millis(250);
/// How long cancelled handlers have to be given back after the grace.
const AFTER_GRACE: Duration = Duration::from_secs(5);

/// How long the connection has to take the last answers.
const AWAY: Duration = Duration::from_secs(2);

type Decoded = Result<Envelope, DecodeError>;

struct Running {
    consumer: DurableConsumer,
    shared: Arc<Shared>,
    /// Asks for messages; gone once the consumer drains.
    puller: Puller,
    sequencer: Sequencer<(Received, Decoded)>,
    deliveries: JoinSet<(Option<UnitUri>, Ending)>,
    summary: ConsumeSummary,
    /// Reasons to stop, should there ever be one.
    verdicts: JoinSet<ConsumeError>,
    /// Asks for a look at the durable.
    look: Arc<Notify>,
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
    /// [`ConsumerDrift`](ConsumeErrorKind::ConsumerDrift) when somebody changed it so that a guarantee is broken,
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
        let (stream, look) = (self.feed.stream(), Arc::new(Notify::new()));
        let mut verdicts = JoinSet::new();
        verdicts.spawn(permission_denied(self.watch.clone(), self.watch.now(), Arc::clone(&shared), stream));
        verdicts.spawn(Inspector::new(&self).inspect(Arc::clone(&look)));
        let puller = Puller::open(shared.client.clone(), stream, shared.name.as_str(), &shared.options)
            .await
            .map_err(|error| {
                ConsumeError::new(ConsumeErrorKind::Unavailable, "inbox cannot be subscribed")
                    .caused_by(error)
            })?;
        let mut signs_of_life = JoinSet::new();
        signs_of_life.spawn(Arc::clone(&shared.holds).keep_alive());
        let context = self.context.clone();
        signs_of_life
            .spawn(GapWatch { context, stream, shared: Arc::clone(&shared), owed_from: None }.watch());
        let mut running = Running {
            consumer: self,
            shared,
            puller,
            sequencer: Sequencer::new(),
            deliveries: JoinSet::new(),
            summary: ConsumeSummary::default(),
            verdicts,
            look,
        };
        let stopped = running.consume(shutdown).await;
        let summary = running.drain().await;
        stopped.map(|()| summary)
    }
}

impl Running {
    async fn consume(&mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ConsumeError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.take_all_that_is_ready().await?;
            self.ask().await;
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                arrival = self.puller.next() => self.arrived(arrival).await?,
                Some(ended) = self.deliveries.join_next() => self.ended(ended),
                Some(Ok(verdict)) = self.verdicts.join_next() => {
                    tracing::error!(consumer = %self.shared.name, error = %verdict, "consumer has to stop");
                    return Err(verdict);
                }
                _ = ticks.tick() => self.look_after().await,
            }
        }
    }

    /// So that the next request is for all the room there is, not for the first bit of it.
    async fn take_all_that_is_ready(&mut self) -> Result<(), ConsumeError> {
        while let Some(arrival) = self.puller.next_now() {
            self.arrived(arrival).await?;
        }
        while let Some(ended) = self.deliveries.try_join_next() {
            self.ended(ended);
        }
        Ok(())
    }

    async fn look_after(&mut self) {
        self.puller.give_up_lost();
        if self.sequencer.is_closed() {
            self.begin_if_all_is_here().await;
        }
        if self.shared.options.order == Order::Relaxed {
            self.give_back_behind_stalled().await;
        }
    }

    /// Another process can handle them; here they would wait for as long as the thread is blocked.
    async fn give_back_behind_stalled(&mut self) {
        let holds = Arc::clone(&self.shared.holds);
        let waiting = self.sequencer.take_waiting_behind(|hold| holds.has_stalled(hold));
        if waiting.is_empty() {
            return;
        }
        tracing::error!(consumer = %self.shared.name, waiting = waiting.len(), "handler blocks its thread; what waits behind it is given back");
        let later = Ending::Postponed(self.shared.options.ack_wait());
        for (received, _) in waiting {
            reply(&self.shared.client, received.reply.clone(), later).await;
            self.summary.count(Ending::Returned);
        }
    }

    async fn begin_if_all_is_here(&mut self) {
        if takeover::is_all_here(&self.consumer).await {
            for (uri, (received, decoded)) in self.sequencer.open() {
                self.start(Some(uri), received, decoded);
            }
        }
    }

    /// What has not begun belongs to the process that was chosen.
    async fn give_way(&mut self) {
        tracing::info!(consumer = %self.shared.name, "another process has taken over");
        self.sequencer.close();
        for (received, _) in self.sequencer.take_waiting() {
            reply(&self.shared.client, received.reply.clone(), Ending::Returned).await;
            self.summary.count(Ending::Returned);
        }
    }

    async fn ask(&mut self) {
        if !self.shared.store_is_down.load(Ordering::Relaxed) {
            let room = self.shared.options.max_in_flight.saturating_sub(self.shared.holds.len());
            self.puller.ask(room).await;
        }
    }

    async fn arrived(&mut self, arrival: Arrival) -> Result<(), ConsumeError> {
        match arrival {
            Arrival::Message(message) => self.received(message),
            Arrival::Chosen(message) => {
                tracing::info!(consumer = %self.shared.name, "this process is the one that receives");
                self.sequencer.close();
                self.received(message);
                self.begin_if_all_is_here().await;
            }
            Arrival::Replaced => self.give_way().await,
            Arrival::Status => {}
            Arrival::NobodyThere | Arrival::Deleted => self.look.notify_one(),
            Arrival::Closed => {
                return Err(ConsumeError::new(
                    ConsumeErrorKind::Unavailable,
                    "connection to the broker is closed",
                ));
            }
        }
        Ok(())
    }

    fn received(&mut self, message: Message) {
        let Some(received) = self.hold(message) else {
            tracing::warn!(consumer = %self.shared.name, "message without an ack subject is dropped");
            return;
        };
        self.summary.received += 1;
        let max_bytes = self.shared.options.max_envelope_bytes;
        let decoded =
            Envelope::decode_at_most(max_bytes, &received.message.subject, &received.message.payload);
        match &decoded {
            Err(_) => self.start(None, received, decoded),
            Ok(envelope) => {
                let uri = envelope.event().unit_uri().clone();
                let (sequence, hold) = (received.sequence, received.hold.id());
                let entrant = Entrant { sequence, hold, delivery: (received, decoded) };
                if let Some((received, decoded)) = self.sequencer.enter(&uri, entrant) {
                    self.start(Some(uri), received, decoded);
                }
            }
        }
    }

    fn hold(&self, message: Message) -> Option<Received> {
        let reply = message.reply.clone()?;
        let message = jetstream::Message { message, context: self.consumer.context.clone() };
        let (stream, sequence, deliveries) = {
            let info = message.info().ok()?;
            (info.stream.to_owned(), info.stream_sequence, u64::try_from(info.delivered).unwrap_or_default())
        };
        let hold = self.shared.holds.hold(sequence, reply.clone());
        Some(Received { message: message.message, reply, stream, sequence, deliveries, hold })
    }

    fn start(&mut self, uri: Option<UnitUri>, received: Received, decoded: Decoded) {
        let shared = Arc::clone(&self.shared);
        self.deliveries.spawn(async move {
            // Handlers are caught where they run; this catches a store that panics.
            let processed = AssertUnwindSafe(process(&shared, received, decoded)).catch_unwind().await;
            (uri, processed.unwrap_or(Ending::Abandoned))
        });
    }

    fn ended(&mut self, ended: Result<(Option<UnitUri>, Ending), tokio::task::JoinError>) {
        // Only an abort ends a delivery without a result, and that comes after the last one was counted.
        let Ok((uri, ending)) = ended else { return };
        self.summary.count(ending);
        if ending == Ending::Abandoned && self.shared.options.order == Order::PerUnit {
            // It comes again, and what follows it must wait for that.
            self.sequencer.close();
        }
        if let Some(uri) = uri
            && let Some((received, decoded)) = self.sequencer.leave(&uri)
        {
            self.start(Some(uri), received, decoded);
        }
    }

    async fn drain(mut self) -> ConsumeSummary {
        let shared = Arc::clone(&self.shared);
        shared.drain.cancel();
        let waiting = self.sequencer.take_waiting();
        // Given back only when nothing is asked for any more: else it would come back to us.
        let last_arrivals = self.puller.close().await;
        takeover::step_down(&self.consumer).await;
        let waiting = waiting.into_iter().map(|(received, _)| received.reply);
        let last_arrivals: Vec<_> = last_arrivals.into_iter().filter_map(|message| message.reply).collect();
        self.summary.received += u64::try_from(last_arrivals.len()).unwrap_or_default();
        let give_back: Vec<_> = waiting.chain(last_arrivals).collect();
        self.summary.returned += u64::try_from(give_back.len()).unwrap_or_default();
        // Everything from here on is bounded: a connection that is away must not keep the service from ending.
        let given_back =
            join_all(give_back.into_iter().map(|to| reply(&shared.client, to, Ending::Returned)));
        if timeout(AWAY, given_back).await.is_err() {
            tracing::warn!("events could not be given back; they are redelivered after the ack wait");
        }
        let summary = &mut self.summary;
        let deliveries = &mut self.deliveries;
        let _all_ended = timeout(shared.options.shutdown_grace, join(deliveries, summary)).await;
        shared.cancel.cancel();
        if timeout(AFTER_GRACE, join(deliveries, summary)).await.is_err() {
            tracing::error!(consumer = %shared.name, left = deliveries.len(), "handlers block their thread and are left");
        }
        if !matches!(timeout(AWAY, shared.client.flush()).await, Ok(Ok(()))) {
            tracing::warn!("last answers could not be flushed; their events are redelivered");
        }
        self.summary.expired = shared.expired.load(Ordering::Relaxed);
        self.summary
    }
}

async fn join(deliveries: &mut JoinSet<(Option<UnitUri>, Ending)>, summary: &mut ConsumeSummary) {
    while let Some(ended) = deliveries.join_next().await {
        if let Ok((_, ending)) = ended {
            summary.count(ending);
        }
    }
}
