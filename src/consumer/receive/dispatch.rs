//! What a consumer has received: asks for it, lets it begin in its turn, and counts what became of it.
//!
//! It is shared between the pump, which empties it, and the loop, which looks after it.

use crate::{
    consumer::{
        Order,
        delivery::{
            decide::Ending,
            job::{Finished, Job, Received},
            reply::answer,
        },
        receive::{
            lanes::{Entered, Entrant, UnitLanes},
            pull::{Arrival, Puller},
        },
        shared::Shared,
        summary::Count,
    },
    contract::{envelope::Envelope, event::Event},
    nats::ack_subject::AckSubject,
    report::report,
    telemetry::log_limit::limited,
};
use async_nats::{Message, message::OutboundMessage};
use futures::future::BoxFuture;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

/// How many messages are taken at a time, and how many deliveries are processed before their answers are sent.
const TURN: usize = 64;
/// A delivery that keeps the pump for longer is not polled in place.
const QUICK: Duration = Duration::from_micros(200);
/// How many deliveries get a task of their own after one that was not quick.
const SPAWNED: usize = 256;
/// Why an event failed of which this process knows no attempt.
const ENDED_ELSEWHERE: &str = "error is not known here: another process made the last attempt";

/// An intake, and who else works on it.
#[derive(Debug, Clone)]
pub(crate) struct SharedIntake(Arc<Mutex<Intake>>);

#[derive(Debug)]
pub(crate) struct Intake {
    shared: Arc<Shared>,
    /// Asks for messages; gone once the consumer drains.
    puller: Option<Puller>,
    sequencer: UnitLanes<Box<Job>>,
    /// The number of the last delivery, where each is to follow the one before.
    last_delivery: Option<u64>,
    /// How often all that is unanswered had to be gathered.
    gatherings: u64,
    /// What may begin.
    ready: VecDeque<Box<Job>>,
    /// What has begun, and has a task of its own.
    pub(crate) tasks: JoinSet<Finished>,
    /// What the server is to be told.
    outgoing: Vec<OutboundMessage>,
    /// The number of the pump that may take from here. One that stands still is replaced.
    pump: u64,
    /// Since when the pump polls a delivery.
    polled_since: Option<Instant>,
    /// How many deliveries were polled in place in this turn.
    polled: usize,
    /// How many deliveries get a task of their own before one is polled in place.
    to_spawn: usize,
    pub(crate) is_closed: bool,
    waker: Option<Waker>,
    /// Asks for a look at the durable.
    look: Arc<Notify>,
    /// Asks the loop to see whether all that is unanswered is here.
    gather: Arc<Notify>,
}

/// What a pump is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something may begin, or is to be sent.
    Work,
    /// Another pump has its place, or the connection is closed for good.
    Over,
}

impl SharedIntake {
    pub(crate) fn new(shared: Arc<Shared>, puller: Puller, look: Arc<Notify>, gather: Arc<Notify>) -> Self {
        Self(Arc::new(Mutex::new(Intake {
            shared,
            puller: Some(puller),
            sequencer: UnitLanes::new(),
            last_delivery: None,
            gatherings: 0,
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            outgoing: Vec::new(),
            pump: 0,
            polled_since: None,
            polled: 0,
            to_spawn: 0,
            is_closed: false,
            waker: None,
            look,
            gather,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Intake> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake {
    /// Takes what has arrived and what has ended, and asks for more.
    pub(crate) fn poll_turn(&mut self, pump: u64, cx: &mut Context<'_>) -> Poll<Turn> {
        if self.pump != pump || self.is_closed {
            return Poll::Ready(Turn::Over);
        }
        self.polled = 0;
        let now = Instant::now();
        let is_exhausted = self.take_arrivals(now, cx);
        while let Poll::Ready(Some(finished)) = self.tasks.poll_join_next(cx) {
            self.joined(finished);
        }
        self.ask(now);
        if self.is_closed {
            return Poll::Ready(Turn::Over);
        }
        if !self.ready.is_empty() || !self.outgoing.is_empty() {
            return Poll::Ready(Turn::Work);
        }
        self.waker = Some(cx.waker().clone());
        if !is_exhausted {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether there is nothing more for now.
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

    fn ask(&mut self, now: Instant) {
        let mut room = self.shared.options.max_in_flight.saturating_sub(self.shared.state.update_gauges());
        if !self.shared.state.is_store_up() {
            // A claim shows whether the store is back: a message is asked for if none that is here can make one. What
            // waits for its turn may wait for that very message.
            room = room.min(usize::from(self.tasks.is_empty() && self.ready.is_empty()));
        }
        let request = self.puller.as_mut().and_then(|puller| puller.ask(room, now));
        self.outgoing.extend(request);
    }

    fn arrived(&mut self, arrival: Arrival, now: Instant) {
        match arrival {
            Arrival::Message(message) => self.received(message, now),
            Arrival::Chosen(message) => {
                tracing::info!(consumer = %self.shared.name, "this process is the one that receives");
                self.give_way();
                self.received(message, now);
            }
            Arrival::Replaced => {
                tracing::info!(consumer = %self.shared.name, "another process has taken over");
                self.give_way();
            }
            Arrival::Status => {}
            Arrival::NobodyThere | Arrival::Deleted => self.look.notify_one(),
            Arrival::Closed => self.is_closed = true,
        }
    }

    fn received(&mut self, message: Message, now: Instant) {
        let Some(received) = self.hold(message, now) else {
            limited!(self.shared.lines, warn, "message without an ack subject is dropped", consumer = %self.shared.name);
            return;
        };
        self.shared.state.count(Count::Received);
        let max_bytes = self.shared.options.max_envelope_bytes;
        let decoded =
            Envelope::decode_at_most(max_bytes, &received.message.subject, &received.message.payload);
        let (envelope, error): (Option<Envelope>, _) = match decoded {
            Ok(envelope) => (Some(envelope), ENDED_ELSEWHERE.into()),
            Err(error) => (None, report(&error).to_string().into()),
        };
        let lane = envelope.as_ref().map(|envelope| self.sequencer.lane(envelope.event().unit_uri()));
        let (sequence, place) = (received.sequence, received.hold.place());
        let delivery = Box::new(Job { received, envelope, error, lane });
        let entered = match lane {
            Some(lane) => self.sequencer.enter(lane, Entrant { sequence, place, delivery }),
            None => Entered::Runs(delivery),
        };
        match entered {
            Entered::Runs(delivery) => self.ready.push_back(delivery),
            Entered::Waits => {}
            Entered::WaitsInPlaceOf(_older) => self.shared.state.count(Ending::Abandoned),
        }
    }

    fn hold(&mut self, mut message: Message, now: Instant) -> Option<Received> {
        let reply = message.reply.take()?;
        let AckSubject { sequence, deliveries, delivery, stored_at } = self.shared.arrivals.count(&reply)?;
        if self.shared.options.order == Order::PerUnit
            && let Some(last) = self.last_delivery.replace(delivery)
            && delivery != last.wrapping_add(1)
        {
            limited!(self.shared.lines, warn, "deliveries were lost; nothing begins until they come again", consumer = %self.shared.name, last, delivery);
            self.gather();
        }
        let hold = self.shared.holds.hold(sequence, reply.clone(), now);
        Some(Received { message, reply, sequence, deliveries, stored_at, hold })
    }

    /// The next delivery that `pump` is to poll in place, after `finished` was, until its turn is over.
    pub(crate) fn next(&mut self, pump: u64, finished: Option<Finished>) -> Option<Box<Job>> {
        let now = Instant::now();
        if self.pump == pump
            && let Some(since) = self.polled_since.take()
            && now.duration_since(since) > QUICK
        {
            self.to_spawn = SPAWNED;
        }
        if let Some(finished) = finished {
            self.finished(finished);
        }
        if self.pump != pump || self.polled == TURN || self.spawns() {
            return None;
        }
        let job = self.ready.pop_front()?;
        self.polled += 1;
        self.polled_since = Some(now);
        Some(job)
    }

    /// Gives tasks of their own to those that are to have one. It ends the turn if it does: the newest task waits for this
    /// thread and no other takes it, so nothing that might block may be polled before.
    fn spawns(&mut self) -> bool {
        let count = self.ready.len().min(self.to_spawn);
        for job in self.ready.drain(..count) {
            self.tasks.spawn(job.begin(Arc::clone(&self.shared)));
        }
        self.to_spawn -= count;
        count > 0
    }

    /// What has not ended at once gets a task of its own, and so do those that follow.
    pub(crate) fn spawn(&mut self, pump: u64, work: BoxFuture<'static, Finished>) {
        // The time of another pump is not touched.
        if self.pump == pump {
            self.polled_since = None;
        }
        self.to_spawn = SPAWNED;
        self.tasks.spawn(work);
    }

    pub(crate) fn joined(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        // Only an abort ends a delivery without a result, and that comes after the last one was counted.
        if let Ok(finished) = finished {
            self.finished(finished);
        }
    }

    pub(crate) fn finished(&mut self, finished: Finished) {
        let Finished { job, ending } = finished;
        self.shared.state.count(ending);
        self.outgoing.extend(answer(&job.received.reply, ending));
        if ending == Ending::Abandoned && self.shared.options.order == Order::PerUnit {
            // It comes again, and what follows it must wait for that.
            self.gather();
        }
        let next = job.lane.and_then(|lane| self.sequencer.leave(lane));
        self.ready.extend(next);
    }

    /// What the server is to be told, in exchange for an empty list.
    pub(crate) fn take_outgoing(&mut self, emptied: Vec<OutboundMessage>) -> Vec<OutboundMessage> {
        std::mem::replace(&mut self.outgoing, emptied)
    }

    /// The server chose a process, be it this one: who it chose before may have answered anything since. What has not
    /// begun comes again, to the one that was chosen; what is ready gives itself back.
    fn give_way(&mut self) {
        self.gather();
        // What was delivered elsewhere meanwhile is not lost.
        self.last_delivery = None;
        self.shared.holds.disown_all();
        for job in self.sequencer.take_waiting() {
            self.give_back(&job, Ending::Returned);
        }
    }

    /// Lets nothing begin until all that is unanswered is here.
    fn gather(&mut self) {
        self.sequencer.close();
        self.gatherings += 1;
        self.gather.notify_one();
    }

    fn give_back(&mut self, job: &Job, how: Ending) {
        self.outgoing.extend(answer(&job.received.reply, how));
        self.shared.arrivals.note_waiting(job.received.sequence);
        self.shared.state.count(Ending::Returned);
    }

    /// Has the pump look again, also at requests that were lost.
    pub(crate) fn look_after(&mut self) {
        if self.puller.as_mut().is_some_and(Puller::give_up_lost) {
            self.look.notify_one();
        }
        if self.shared.options.order == Order::Relaxed {
            self.give_back_behind_stalled();
        }
        self.wake();
    }

    /// Another process can handle them; here they would wait for as long as the thread is blocked.
    fn give_back_behind_stalled(&mut self) {
        let holds = Arc::clone(&self.shared.holds);
        let waiting = self.sequencer.take_waiting_behind(|place| holds.has_stalled(place));
        if !waiting.is_empty() {
            limited!(self.shared.lines, error, "handler blocks its thread; what waits behind it is given back", consumer = %self.shared.name, waiting = waiting.len());
        }
        let later = Ending::Postponed(self.shared.options.ack_wait());
        for job in waiting {
            self.give_back(&job, later);
        }
    }

    /// Which gathering goes on, if nothing may begin until all that is unanswered is here.
    pub(crate) fn gathering(&self) -> Option<u64> {
        self.sequencer.is_closed().then_some(self.gatherings)
    }

    /// All that is unanswered is here, unless something is known to be lost since that `gathering` began.
    pub(crate) fn gathered(&mut self, gathering: u64) {
        if self.gathering() == Some(gathering) {
            self.ready.extend(self.sequencer.open());
            self.wake();
        }
    }

    /// Whether the pump has polled one delivery for longer than `limit`.
    pub(crate) fn polls_longer_than(&self, limit: Duration) -> bool {
        self.polled_since.is_some_and(|since| since.elapsed() > limit)
    }

    /// The number of the pump that takes the place of the present one.
    pub(crate) fn replace_pump(&mut self) -> u64 {
        self.polled_since = None;
        self.to_spawn = SPAWNED;
        self.pump += 1;
        self.wake();
        self.pump
    }

    /// Nothing begins any more: gives back what has not, and returns what was asked with.
    pub(crate) fn retire(&mut self) -> Option<Puller> {
        self.replace_pump();
        self.sequencer.close();
        let mut not_begun = self.sequencer.take_waiting();
        not_begun.extend(self.ready.drain(..));
        for job in not_begun {
            self.give_back(&job, Ending::Returned);
        }
        self.puller.take()
    }

    /// What arrived while the subscription was closed is given back as well.
    pub(crate) fn give_back_unseen(&mut self, messages: &[Message]) {
        for reply in messages.iter().filter_map(|message| message.reply.as_ref()) {
            self.shared.state.count(Count::Received);
            self.shared.state.count(Ending::Returned);
            self.outgoing.extend(answer(reply, Ending::Returned));
        }
    }

    /// Drops all deliveries where they stand.
    pub(crate) fn abort(&mut self) {
        self.replace_pump();
        self.ready.clear();
        self.sequencer.take_waiting();
        self.tasks.abort_all();
        self.puller = None;
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
