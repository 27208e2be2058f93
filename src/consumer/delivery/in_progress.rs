//! The messages in progress, and the heartbeats that keep the server from redelivering them.

use crate::telemetry::log_limit::{LogLimit, limited};
use async_nats::{Client, Subject};
use futures::task::AtomicWaker;
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

/// The set of messages in progress: delivered, and not yet answered.
#[derive(Debug)]
pub(crate) struct InProgressSet {
    client: Client,
    /// The interval of heartbeats for each message: a quarter of the lease, which is no longer than the ack wait.
    every: Duration,
    /// The instant that the times of messages are counted from.
    epoch: Instant,
    registry: Mutex<Registry>,
    /// The number of deliveries that claim their slot or run their handler.
    in_flight: AtomicUsize,
    /// The number of deliveries that were handled and are being settled.
    settling: AtomicUsize,
    /// The worker, which waits for a delivery in flight to end, among other things.
    worker: AtomicWaker,
    /// Wakes those that wait for their message to become uncertain.
    became_uncertain: Notify,
    lines: Arc<LogLimit>,
}

/// The messages by index. An index that was freed is the next one to be used.
#[derive(Debug, Default)]
struct Registry {
    entries: Vec<Option<Arc<Tracked>>>,
    free: Vec<usize>,
}

/// Times are nanoseconds since the epoch of [`InProgressSet`], so that they are changed without a lock.
#[derive(Debug)]
struct Tracked {
    reply: Subject,
    sequence: u64,
    last_heartbeat: AtomicU64,
    /// The lease expiry of the claim, once there is one. Heartbeats end then, so that a handler that blocks its thread,
    /// and with it the renewal of its lease, cannot keep its message in flight forever.
    lease_end: AtomicU64,
    /// Another process may have the message, or the server may have its answer.
    is_uncertain: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl InProgressSet {
    pub(crate) fn new(client: Client, lease: Duration, lines: Arc<LogLimit>) -> Arc<Self> {
        let every = (lease / 4).max(Duration::from_millis(10));
        Arc::new(Self {
            client,
            every,
            epoch: Instant::now(),
            registry: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            settling: AtomicUsize::new(0),
            worker: AtomicWaker::new(),
            became_uncertain: Notify::new(),
            lines,
        })
    }

    /// Tracks the message at `sequence` whose acks go to `reply`, until the returned value is dropped.
    pub(crate) fn track(self: &Arc<Self>, sequence: u64, reply: Subject, now: Instant) -> InProgress {
        let tracked = Arc::new(Tracked {
            reply,
            sequence,
            last_heartbeat: AtomicU64::new(self.nanos(now)),
            lease_end: AtomicU64::new(NEVER),
            is_uncertain: AtomicBool::new(false),
        });
        let index = self.registry().insert(Arc::clone(&tracked));
        InProgress { index, tracked, stage: Stage::Waits, set: Arc::clone(self) }
    }

    /// Returns the number of deliveries that claim their slot or run their handler.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns how many deliveries may begin, if so many may be in flight. Those that are being settled are none of
    /// them, so that the next ones are claimed at the same time; up to as many more, since all of them are handled
    /// again if this process dies.
    pub(crate) fn room(&self, max_in_flight: usize) -> usize {
        room(max_in_flight, self.in_flight(), self.settling.load(Ordering::Relaxed))
    }

    /// Registers the worker, to be woken when a delivery is no longer in flight.
    pub(crate) fn register_worker(&self, worker: &Waker) {
        self.worker.register(worker);
    }

    pub(crate) fn wake_worker(&self) {
        self.worker.wake();
    }

    fn count(&self, stage: Stage) -> Option<&AtomicUsize> {
        match stage {
            Stage::Waits => None,
            Stage::InFlight => Some(&self.in_flight),
            Stage::Settles => Some(&self.settling),
        }
    }

    /// Returns the number of messages held: waiting or begun.
    pub(crate) fn len(&self) -> usize {
        let registry = self.registry();
        registry.entries.len() - registry.free.len()
    }

    /// Returns the sequences that no other process can have: not those marked as uncertain, or whose lease has expired.
    pub(crate) fn certain(&self) -> HashSet<u64> {
        let now = self.nanos(Instant::now());
        let is_certain = |tracked: &&Arc<Tracked>| {
            !tracked.is_uncertain.load(Ordering::Relaxed) && now < tracked.lease_end.load(Ordering::Relaxed)
        };
        self.registry().entries.iter().flatten().filter(is_certain).map(|tracked| tracked.sequence).collect()
    }

    /// Marks all messages as uncertain: another process may have them. Running handlers go on, and no other begins.
    pub(crate) fn mark_all_uncertain(&self) {
        for tracked in self.registry().entries.iter().flatten() {
            tracked.is_uncertain.store(true, Ordering::Relaxed);
        }
        self.became_uncertain.notify_waiters();
    }

    /// Returns whether the delivery at this index is long past its lease: its handler blocks its thread.
    pub(crate) fn has_stalled(&self, index: usize) -> bool {
        let registry = self.registry();
        let tracked = registry.entries.get(index).and_then(Option::as_ref);
        let lease_end = tracked.map_or(NEVER, |tracked| tracked.lease_end.load(Ordering::Relaxed));
        lease_end != NEVER && self.nanos(Instant::now()) > lease_end.saturating_add(self.every_nanos())
    }

    /// Sends heartbeats until it is dropped.
    pub(crate) async fn send_heartbeats(self: Arc<Self>) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            for reply in self.due(self.nanos(now)) {
                if let Err(error) = self.client.publish(reply, "+WPI".into()).await {
                    limited!(self.lines, warn, "heartbeat could not be sent", %error);
                }
            }
        }
    }

    fn due(&self, now: u64) -> Vec<Subject> {
        let is_due = |tracked: &&Arc<Tracked>| {
            now < tracked.lease_end.load(Ordering::Relaxed)
                && now.saturating_sub(tracked.last_heartbeat.load(Ordering::Relaxed)) >= self.every_nanos()
        };
        let beat = |tracked: &Arc<Tracked>| {
            tracked.last_heartbeat.store(now, Ordering::Relaxed);
            tracked.reply.clone()
        };
        self.registry().entries.iter().flatten().filter(is_due).map(beat).collect()
    }

    fn every_nanos(&self) -> u64 {
        u64::try_from(self.every.as_nanos()).unwrap_or(NEVER)
    }

    fn nanos(&self, instant: Instant) -> u64 {
        u64::try_from(instant.duration_since(self.epoch).as_nanos()).unwrap_or(NEVER)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn insert(&mut self, tracked: Arc<Tracked>) -> usize {
        let free = self.free.pop();
        if let Some((index, entry)) = free.and_then(|index| Some((index, self.entries.get_mut(index)?))) {
            *entry = Some(tracked);
            return index;
        }
        self.entries.push(Some(tracked));
        self.entries.len() - 1
    }

    fn remove(&mut self, index: usize) {
        if self.entries.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

/// A message in progress.
#[derive(Debug)]
pub(crate) struct InProgress {
    index: usize,
    tracked: Arc<Tracked>,
    stage: Stage,
    set: Arc<InProgressSet>,
}

/// The stages of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has not begun.
    Waits,
    /// It claims its slot, or its handler runs.
    InFlight,
    /// It was handled, and is being settled.
    Settles,
}

impl InProgress {
    /// Returns its index in the registry, which no other message has as long as this value lives.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn enter(&mut self, stage: Stage) {
        if self.stage == stage {
            return;
        }
        if let Some(count) = self.set.count(stage) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.leave();
        self.stage = stage;
    }

    fn leave(&self) {
        if let Some(count) = self.set.count(self.stage) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if self.stage == Stage::InFlight {
            self.set.wake_worker();
        }
    }

    /// Notes a claim, or its renewal, whose lease expires at `lease_end`.
    pub(crate) fn claimed(&self, lease_end: Instant) {
        self.tracked.lease_end.store(self.set.nanos(lease_end), Ordering::Relaxed);
    }

    /// Notes that the delivery has no claim and waits.
    pub(crate) fn unclaimed(&self) {
        self.tracked.lease_end.store(NEVER, Ordering::Relaxed);
    }

    /// Returns the lease expiry of its claim, if it has one.
    pub(crate) fn lease_end(&self) -> Option<Instant> {
        let nanos = self.tracked.lease_end.load(Ordering::Relaxed);
        (nanos != NEVER).then(|| self.set.epoch + Duration::from_nanos(nanos))
    }

    /// Returns the interval of heartbeats and renewals: a quarter of the lease.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.set.every
    }

    /// Marks the message as uncertain: the server is about to have its answer.
    pub(crate) fn mark_uncertain(&self) {
        self.tracked.is_uncertain.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_uncertain(&self) -> bool {
        self.tracked.is_uncertain.load(Ordering::Relaxed)
    }

    /// Returns once another process may have the message.
    pub(crate) async fn until_uncertain(&self) {
        // Listens before it looks, so that nothing can happen between.
        let became_uncertain = self.set.became_uncertain.notified();
        if !self.is_uncertain() {
            became_uncertain.await;
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.set.registry().remove(self.index);
        self.leave();
    }
}

fn room(max_in_flight: usize, in_flight: usize, settling: usize) -> usize {
    let unsettled = in_flight.saturating_add(settling);
    max_in_flight.saturating_sub(in_flight).min(max_in_flight.saturating_mul(2).saturating_sub(unsettled))
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn what_is_settled_makes_room_for_as_many_more() {
        assert_eq!((room(64, 0, 0), room(64, 64, 0), room(64, 40, 24)), (64, 0, 24));
        assert_eq!((room(64, 0, 64), room(64, 64, 64), room(64, 10, 110)), (64, 0, 8));
        assert_eq!((room(usize::MAX, 7, 7), room(64, 70, 0)), (usize::MAX - 14, 0));
    }
}
