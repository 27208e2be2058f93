//! Keeping held messages alive, so that the server does not redeliver what waits or runs here.

use crate::telemetry::log_limit::{LogLimit, limited};
use async_nats::{Client, Subject};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

/// The messages that are held: delivered, and not yet answered.
#[derive(Debug)]
pub(crate) struct InProgressSet {
    client: Client,
    /// A held message gives a sign of life this often; a quarter of the lease, which is no longer than the ack wait.
    every: Duration,
    /// What the times of the held messages are counted from.
    epoch: Instant,
    places: Mutex<Places>,
    /// Tells those that wait that their message is not certain to be theirs any more.
    disowned: Notify,
    lines: Arc<LogLimit>,
}

/// Who is held where. A place that was left is the next one to be taken.
#[derive(Debug, Default)]
struct Places {
    held: Vec<Option<Arc<Held>>>,
    free: Vec<usize>,
}

/// Times are nanoseconds since the epoch of [`InProgressSet`], so that they are changed without a lock.
#[derive(Debug)]
struct Held {
    reply: Subject,
    sequence: u64,
    last_sign: AtomicU64,
    /// No sign of life is given after this: a handler that cannot be stopped must not hold its message for ever.
    until: AtomicU64,
    /// When the claim of the delivery ends, once it has one.
    lease_end: AtomicU64,
    /// Another process may have the message, or the server its answer.
    is_disowned: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl InProgressSet {
    pub(crate) fn new(client: Client, lease: Duration, lines: Arc<LogLimit>) -> Arc<Self> {
        let every = (lease / 4).max(Duration::from_millis(10));
        Arc::new(Self {
            client,
            every,
            epoch: Instant::now(),
            places: Mutex::default(),
            disowned: Notify::new(),
            lines,
        })
    }

    /// Holds the message at `sequence` whose acks go to `reply`, until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>, sequence: u64, reply: Subject, now: Instant) -> InProgress {
        let held = Arc::new(Held {
            reply,
            sequence,
            last_sign: AtomicU64::new(self.nanos(now)),
            until: AtomicU64::new(NEVER),
            lease_end: AtomicU64::new(NEVER),
            is_disowned: AtomicBool::new(false),
        });
        let place = self.places().take(Arc::clone(&held));
        InProgress { place, held, holds: Arc::clone(self) }
    }

    /// How many messages are held.
    pub(crate) fn len(&self) -> usize {
        let places = self.places();
        places.held.len() - places.free.len()
    }

    /// The messages that are held and that nobody else can have: not those that were given up or whose claim is over.
    pub(crate) fn certain(&self) -> HashSet<u64> {
        let now = self.nanos(Instant::now());
        let is_certain = |held: &&Arc<Held>| {
            !held.is_disowned.load(Ordering::Relaxed) && now < held.lease_end.load(Ordering::Relaxed)
        };
        self.places().held.iter().flatten().filter(is_certain).map(|held| held.sequence).collect()
    }

    /// None of the messages that are held is certain to be ours any more. What runs goes on, and nothing else begins.
    pub(crate) fn disown_all(&self) {
        for held in self.places().held.iter().flatten() {
            held.is_disowned.store(true, Ordering::Relaxed);
        }
        self.disowned.notify_waiters();
    }

    /// Whether the delivery that is held at this place was to end long ago: its handler blocks its thread.
    pub(crate) fn has_stalled(&self, place: usize) -> bool {
        let places = self.places();
        let held = places.held.get(place).and_then(Option::as_ref);
        let lease_end = held.map_or(NEVER, |held| held.lease_end.load(Ordering::Relaxed));
        lease_end != NEVER && self.nanos(Instant::now()) > lease_end.saturating_add(self.every_nanos())
    }

    /// Gives signs of life for ever.
    pub(crate) async fn keep_alive(self: Arc<Self>) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            for reply in self.due(self.nanos(now)) {
                if let Err(error) = self.client.publish(reply, "+WPI".into()).await {
                    limited!(self.lines, warn, "sign of life could not be sent", %error);
                }
            }
        }
    }

    fn due(&self, now: u64) -> Vec<Subject> {
        let is_due = |held: &&Arc<Held>| {
            now < held.until.load(Ordering::Relaxed)
                && now.saturating_sub(held.last_sign.load(Ordering::Relaxed)) >= self.every_nanos()
        };
        let sign = |held: &Arc<Held>| {
            held.last_sign.store(now, Ordering::Relaxed);
            held.reply.clone()
        };
        self.places().held.iter().flatten().filter(is_due).map(sign).collect()
    }

    fn every_nanos(&self) -> u64 {
        u64::try_from(self.every.as_nanos()).unwrap_or(NEVER)
    }

    fn nanos(&self, instant: Instant) -> u64 {
        u64::try_from(instant.duration_since(self.epoch).as_nanos()).unwrap_or(NEVER)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn take(&mut self, held: Arc<Held>) -> usize {
        let free = self.free.pop();
        if let Some((index, place)) = free.and_then(|index| Some((index, self.held.get_mut(index)?))) {
            *place = Some(held);
            return index;
        }
        self.held.push(Some(held));
        self.held.len() - 1
    }

    fn leave(&mut self, index: usize) {
        if self.held.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

/// One held message.
#[derive(Debug)]
pub(crate) struct InProgress {
    place: usize,
    held: Arc<Held>,
    holds: Arc<InProgressSet>,
}

impl InProgress {
    /// The number of its place: no other hold has it as long as this one lives.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// The delivery has a claim, which ends at `lease_end`; no sign of life is given afterwards.
    pub(crate) fn claimed(&self, lease_end: Instant) {
        self.held.lease_end.store(self.holds.nanos(lease_end), Ordering::Relaxed);
        self.limit(lease_end);
    }

    /// The delivery has no claim any more, and waits.
    pub(crate) fn unclaimed(&self) {
        self.held.lease_end.store(NEVER, Ordering::Relaxed);
        self.held.until.store(NEVER, Ordering::Relaxed);
    }

    /// The server is about to learn what became of the message.
    pub(crate) fn disown(&self) {
        self.held.is_disowned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_disowned(&self) -> bool {
        self.held.is_disowned.load(Ordering::Relaxed)
    }

    /// Returns once the message is not certain to be ours any more.
    pub(crate) async fn disowned(&self) {
        // Listens before it looks, so that nothing can happen between.
        let disowned = self.holds.disowned.notified();
        if !self.is_disowned() {
            disowned.await;
        }
    }

    /// Gives no sign of life after `until`.
    pub(crate) fn limit(&self, until: Instant) {
        self.held.until.store(self.holds.nanos(until), Ordering::Relaxed);
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.holds.places().leave(self.place);
    }
}
