//! The dispatcher: requests messages, lets each delivery begin in its turn, and queues the answers to the server.
//!
//! It is shared between the worker, which empties it, and the loop, which checks on both.

use crate::{
    consumer::{
        Order,
        delivery::{
            breakers::Demand,
            decide::Ending,
            job::{Finished, Job, Received},
            reply::answer,
        },
        receive::{
            barrier::Barrier,
            lanes::{Entered, Lane, UnitLanes},
            poll_budget::{PollBudget, TURN},
            prefetch::Prefetch,
            pull::{Arrival, Puller},
        },
        shared::Shared,
        summary::Count,
    },
    contract::event::Event,
    nats::ack_subject::AckSubject,
    telemetry::log_limit::limited,
};
use async_nats::{Message, message::OutboundMessage};
use futures::future::BoxFuture;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

/// A handle to the dispatcher.
#[derive(Debug, Clone)]
pub(crate) struct SharedDispatcher(Arc<Mutex<Dispatcher>>);

#[derive(Debug)]
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    /// Requests messages; gone once the consumer drains.
    puller: Option<Puller>,
    lanes: UnitLanes<Box<Job>>,
    barrier: Barrier,
    pub(crate) budget: PollBudget,
    prefetch: Prefetch,
    /// Deliveries that may begin.
    ready: VecDeque<Box<Job>>,
    /// Deliveries that have begun and have a task of their own.
    pub(crate) tasks: JoinSet<Finished>,
    /// Answers and requests to be sent to the server.
    outgoing: Vec<OutboundMessage>,
    pub(crate) is_closed: bool,
    /// Asks for an inspection of the durable.
    inspect: Arc<Notify>,
}

/// The outcome of waiting for a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something may begin, or is to be sent.
    Work,
    /// The worker was replaced, or the connection is closed for good.
    Over,
}

impl SharedDispatcher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        puller: Puller,
        inspect: Arc<Notify>,
        check_barrier: Arc<Notify>,
    ) -> Self {
        let prefetch = Prefetch::new(&shared.options, Instant::now());
        Self(Arc::new(Mutex::new(Dispatcher {
            barrier: Barrier::new(shared.options.order, check_barrier),
            shared,
            puller: Some(puller),
            lanes: UnitLanes::new(),
            budget: PollBudget::default(),
            prefetch,
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            outgoing: Vec::new(),
            is_closed: false,
            inspect,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Dispatcher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    /// Takes what has arrived and what has ended, and requests more.
    pub(crate) fn poll_turn(&mut self, worker: u64, cx: &mut Context<'_>) -> Poll<Turn> {
        if !self.budget.is_current(worker) || self.is_closed {
            return Poll::Ready(Turn::Over);
        }
        self.budget.begin_turn();
        let now = Instant::now();
        let is_exhausted = self.take_arrivals(now, cx);
        while let Poll::Ready(Some(finished)) = self.tasks.poll_join_next(cx) {
            self.joined(finished);
        }
        let held = self.shared.state.update_gauges();
        self.request_more(held, now);
        if self.is_closed {
            return Poll::Ready(Turn::Over);
        }
        self.shared.in_progress.register_worker(cx.waker());
        if self.may_begin() > 0 || !self.outgoing.is_empty() {
            return Poll::Ready(Turn::Work);
        }
        if !is_exhausted {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes a turn's worth of arrivals; returns whether there are no more for now.
    fn take_arrivals(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        for _ in 0..TURN {
            let Some(puller) = &mut self.puller else { return true };
            match puller.poll_next(cx, now) {
                Poll::Ready(arrival) => self.arrived(arrival, now),
                Poll::Pending => return true,
            }
        }
        false
    }

    /// Returns how many of the deliveries that are ready may begin now.
    fn may_begin(&self) -> usize {
        self.ready.len().min(self.shared.in_progress.room(self.shared.options.max_in_flight))
    }

    fn request_more(&mut self, held: usize, now: Instant) {
        let target = self.prefetch.target(now);
        let mut room = target.saturating_sub(held);
        match self.shared.state.breakers.demand() {
            Demand::All => {}
            Demand::Probe => room = room.min(1),
            Demand::Nothing => room = 0,
        }
        if !self.shared.state.is_store_up() {
            // A claim shows whether the store is back: one message is requested if nothing here can make a claim. What
            // waits in a lane may wait for that very message.
            room = room.min(usize::from(self.tasks.is_empty() && self.ready.is_empty()));
        }
        if self.shared.options.order == Order::PerUnit {
            // The request is the heartbeat of the pinned client, which would otherwise lose its pin while all places
            // are taken. The server delivers nothing then: the durable allows no more unanswered messages than places.
            room = room.max(1);
        }
        self.outgoing.extend(self.puller.as_mut().and_then(|puller| puller.request(room, target, now)));
    }

    fn arrived(&mut self, arrival: Arrival, now: Instant) {
        match arrival {
            Arrival::Message(message) => self.received(message, now),
            Arrival::Pinned(message) => {
                tracing::info!(consumer = %self.shared.name, "this process is now the pinned client and receives");
                self.shared.state.meter.pinned();
                self.on_repinned();
                self.received(message, now);
            }
            Arrival::Unpinned => {
                tracing::info!(consumer = %self.shared.name, "another process is now the pinned client");
                self.on_repinned();
            }
            Arrival::Status => {}
            Arrival::NoResponders | Arrival::Deleted => self.inspect.notify_one(),
            Arrival::Closed => self.is_closed = true,
        }
    }

    fn received(&mut self, message: Message, now: Instant) {
        let Some(received) = self.track(message, now) else {
            limited!(self.shared.lines, warn, "message without an ack subject is dropped", consumer = %self.shared.name);
            return;
        };
        self.shared.state.count(Count::Received);
        self.prefetch.arrived(received.message.length);
        let (sequence, index) = (received.sequence, received.in_progress.index());
        let mut job = Box::new(Job::read(received, &self.shared));
        let lane = job.envelope.as_ref().map(|envelope| self.lanes.lane(envelope.event().unit_uri()));
        job.lane = lane;
        let entered = match lane {
            Some(lane) => self.lanes.enter(lane, sequence, index, job),
            None => Entered::Runs(job),
        };
        match entered {
            Entered::Runs(job) => self.ready.push_back(job),
            Entered::Waits => {}
            Entered::WaitsInPlaceOf(_older) => self.shared.state.count(Ending::Abandoned),
        }
    }

    fn track(&mut self, mut message: Message, now: Instant) -> Option<Received> {
        let reply = message.reply.take()?;
        let AckSubject { sequence, deliveries, delivery, stored_at } = self.shared.arrivals.count(&reply)?;
        if let Some(last) = self.barrier.lost_before(delivery) {
            limited!(self.shared.lines, warn, "deliveries were lost; nothing begins until they come again", consumer = %self.shared.name, last, delivery);
            self.barrier.raise(&mut self.lanes);
        }
        let in_progress = self.shared.in_progress.track(sequence, reply.clone(), now);
        Some(Received { message, reply, sequence, deliveries, stored_at, in_progress })
    }

    /// Returns the next delivery that `worker` is to poll in place, after `finished`, until its turn is over.
    pub(crate) fn next(&mut self, worker: u64, finished: Option<Finished>) -> Option<Box<Job>> {
        let now = Instant::now();
        self.budget.end_poll(worker, now);
        if let Some(finished) = finished {
            self.finished(finished);
        }
        if !self.budget.has_polls_left(worker) || self.may_begin() == 0 || self.spawns() {
            return None;
        }
        let job = self.ready.pop_front()?;
        self.budget.begin_poll(now);
        Some(job)
    }

    /// Gives tasks to the deliveries that are to have one. It ends the turn if it does: the newest task waits for this
    /// thread and no other takes it, so nothing that might block may be polled before.
    fn spawns(&mut self) -> bool {
        let count = self.budget.take_spawns(self.may_begin());
        for job in self.ready.drain(..count) {
            self.tasks.spawn(job.begin(Arc::clone(&self.shared)));
        }
        count > 0
    }

    /// Gives a task to a delivery that did not end at once; those that follow get one too.
    pub(crate) fn spawn(&mut self, worker: u64, work: BoxFuture<'static, Finished>) {
        self.budget.end_pending_poll(worker);
        self.tasks.spawn(work);
    }

    pub(crate) fn joined(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        // Only an abort ends a delivery without a result, and that comes after the last one was counted.
        if let Ok(finished) = finished {
            self.finished(finished);
        }
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { job, ending } = finished;
        self.prefetch.ended();
        self.shared.state.count(ending);
        self.outgoing.extend(answer(&job.received.reply, ending));
        if ending.comes_again() && self.shared.options.order == Order::PerUnit {
            // What follows it must wait for that.
            self.barrier.raise(&mut self.lanes);
        }
        self.leave(job.lane);
    }

    /// Lets the next delivery of the lane begin.
    fn leave(&mut self, lane: Option<Lane>) {
        self.ready.extend(lane.and_then(|lane| self.lanes.leave(lane)));
    }

    /// Takes what is to be sent to the server, in exchange for an empty list.
    pub(crate) fn take_outgoing(&mut self, emptied: Vec<OutboundMessage>) -> Vec<OutboundMessage> {
        std::mem::replace(&mut self.outgoing, emptied)
    }

    /// Reacts to a re-pinned consumer, perhaps to this process. The previous one may have answered anything since, so
    /// nothing in flight here is certain: what has not begun is given back and comes again to the pinned client.
    fn on_repinned(&mut self) {
        if let Some(parking) = &self.shared.parking {
            parking.make_stale();
        }
        self.barrier.raise(&mut self.lanes);
        self.barrier.forget_last_delivery();
        self.shared.in_progress.mark_all_uncertain();
        for job in self.lanes.take_waiting() {
            self.nak(&job, Ending::Returned);
        }
    }

    fn nak(&mut self, job: &Job, ending: Ending) {
        self.outgoing.extend(answer(&job.received.reply, ending));
        self.shared.arrivals.note_waiting(job.received.sequence);
        self.shared.state.count(ending);
    }

    /// Checks for lost requests and stalled handlers, and wakes the worker.
    pub(crate) fn check(&mut self) {
        if self.puller.as_mut().is_some_and(Puller::drop_lost_requests) {
            self.inspect.notify_one();
        }
        if self.shared.options.order == Order::Relaxed {
            self.nak_behind_stalled();
            self.nak_surplus();
        }
        self.wake();
    }

    /// Gives back what waits behind a handler that blocks its thread, so that another process can handle it.
    fn nak_behind_stalled(&mut self) {
        let in_progress = Arc::clone(&self.shared.in_progress);
        let waiting = self.lanes.take_waiting_behind(|index| in_progress.has_stalled(index));
        if !waiting.is_empty() {
            limited!(self.shared.lines, error, "handler blocks its thread; what waits behind it is given back", consumer = %self.shared.name, waiting = waiting.len());
        }
        let later = Ending::BehindStalled(self.shared.options.ack_wait());
        for job in waiting {
            self.nak(&job, later);
        }
    }

    /// Gives back what waits for handlers that have become slow. While requests from before are open, ten seconds at
    /// most, the server shares it between them and those of idle processes.
    fn nak_surplus(&mut self) {
        if self.prefetch.holds_too_many(self.shared.in_progress.len(), Instant::now()) {
            self.nak_not_begun();
        }
    }

    /// Returns the number of the barrier, if it is up.
    pub(crate) fn barrier(&self) -> Option<u64> {
        self.barrier.current(&self.lanes)
    }

    /// Lowers the barrier of this number, unless it was raised again since.
    pub(crate) fn caught_up(&mut self, barrier: u64) {
        if self.barrier() == Some(barrier) {
            self.ready.extend(self.lanes.open());
            self.wake();
        }
    }

    /// Returns the number of a worker that takes the place of the present one.
    pub(crate) fn replace_worker(&mut self) -> u64 {
        let worker = self.budget.replace_worker();
        self.wake();
        worker
    }

    /// Lets nothing more begin, and returns the puller to be closed.
    pub(crate) fn drain(&mut self) -> Option<Puller> {
        self.replace_worker();
        self.lanes.close();
        self.puller.take()
    }

    /// Gives back what has not begun, and the messages that arrived while the puller was closed: earlier, they would
    /// come back here.
    pub(crate) fn give_back(&mut self, last_arrivals: &[Message]) {
        self.nak_not_begun();
        for reply in last_arrivals.iter().filter_map(|message| message.reply.as_ref()) {
            self.shared.state.count(Count::Received);
            self.shared.state.count(Ending::Returned);
            self.outgoing.extend(answer(reply, Ending::Returned));
        }
    }

    fn nak_not_begun(&mut self) {
        let waiting = self.lanes.take_waiting();
        for job in std::mem::take(&mut self.ready).into_iter().chain(waiting) {
            self.nak(&job, Ending::Returned);
            self.leave(job.lane);
        }
    }

    /// Drops all deliveries at once.
    pub(crate) fn abort(&mut self) {
        self.replace_worker();
        self.ready.clear();
        self.lanes.take_waiting();
        self.tasks.abort_all();
        self.puller = None;
    }

    fn wake(&self) {
        self.shared.in_progress.wake_worker();
    }
}
