//! How a consumer is doing, for those who are not part of its loop.

use crate::consumer::{ConsumeSummary, meter::ConsumerMeter, shared::Shared};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// What is known of a consumer, brought up to date by its loop.
#[derive(Debug)]
pub(super) struct ConsumerState {
    pub(super) meter: ConsumerMeter,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) phase: ConsumerPhase,
    pub(super) counts: ConsumeSummary,
    pub(super) in_flight: usize,
    pub(super) is_store_up: bool,
    pub(super) told: Option<Told>,
}

/// What the server said of the durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) pending: u64,
    pub(super) unanswered: u64,
    /// How long the durable stays paused from then on, if it is.
    pub(super) pause: Option<Duration>,
}

/// What a consumer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumerPhase {
    /// It was built, and does not run yet.
    Built,
    /// It asks for events and handles them.
    Running,
    /// Somebody has paused its durable: it asks for events, and the server delivers none until the pause ends. When
    /// that is, [`pause_remaining`](crate::ConsumerStatus::pause_remaining) returns.
    Paused,
    /// It asks for nothing more, and ends what it has begun.
    Draining,
    /// It does not run any more.
    Ended,
}

impl ConsumerState {
    pub(super) fn new(meter: ConsumerMeter) -> Arc<Self> {
        let seen = Seen {
            phase: ConsumerPhase::Built,
            counts: ConsumeSummary::default(),
            in_flight: 0,
            is_store_up: true,
            told: None,
        };
        Arc::new(Self { meter, seen: Mutex::new(seen) })
    }

    /// It runs until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Run {
        self.lock().phase = ConsumerPhase::Running;
        Run(Arc::clone(self))
    }

    pub(super) fn drains(&self) {
        self.lock().phase = ConsumerPhase::Draining;
    }

    /// Notes where the loop has come to.
    pub(super) fn note(&self, shared: &Shared, summary: &ConsumeSummary) {
        let in_flight = shared.holds.len();
        let is_store_up = !shared.store_is_down.load(Ordering::Relaxed);
        let counts = ConsumeSummary { expired: shared.expired.load(Ordering::Relaxed), ..*summary };
        self.meter.holds(in_flight, is_store_up);
        let mut seen = self.lock();
        self.meter.counted(&seen.counts, &counts);
        (seen.counts, seen.in_flight, seen.is_store_up) = (counts, in_flight, is_store_up);
    }

    pub(super) fn told(&self, pending: u64, unanswered: usize, pause: Option<Duration>) {
        self.meter.pending(pending);
        let unanswered = u64::try_from(unanswered).unwrap_or(u64::MAX);
        self.lock().told = Some(Told { at: Instant::now(), pending, unanswered, pause });
    }

    pub(super) fn seen(&self) -> Seen {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consumer runs.
#[derive(Debug)]
pub(super) struct Run(Arc<ConsumerState>);

impl Drop for Run {
    fn drop(&mut self) {
        let mut seen = self.0.lock();
        (seen.phase, seen.in_flight) = (ConsumerPhase::Ended, 0);
        self.0.meter.holds(0, seen.is_store_up);
    }
}
