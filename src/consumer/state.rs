//! The state of a consumer, read by its monitor, its summary and its metrics.

use crate::consumer::{
    ConsumeSummary,
    delivery::{
        breakers::{Breakers, OpenBreakers},
        in_progress::InProgressSet,
    },
    meter::ConsumerMeter,
    summary::Count,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The state of a consumer, kept by all of its parts. What changes with each delivery is atomic.
#[derive(Debug)]
pub(super) struct ConsumerState {
    pub(super) meter: ConsumerMeter,
    pub(super) breakers: Breakers,
    in_progress: Arc<InProgressSet>,
    counts: Counts,
    /// False while the store does not answer: the server is then asked for nothing new.
    is_store_up: AtomicBool,
    phase: Mutex<ConsumerPhase>,
    server_info: Mutex<Option<ServerInfo>>,
}

/// One counter for each field of [`ConsumeSummary`].
#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    handled: AtomicU64,
    duplicates: AtomicU64,
    retried: AtomicU64,
    deferred: AtomicU64,
    exhausted: AtomicU64,
    rejected: AtomicU64,
    invalid: AtomicU64,
    parked: AtomicU64,
    postponed: AtomicU64,
    returned: AtomicU64,
    abandoned: AtomicU64,
    expired: AtomicU64,
}

/// The state of a consumer at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) phase: ConsumerPhase,
    pub(super) counts: ConsumeSummary,
    pub(super) in_flight: usize,
    pub(super) held: usize,
    pub(super) is_store_up: bool,
    pub(super) breakers: OpenBreakers,
    pub(super) server_info: Option<ServerInfo>,
}

/// The server's last report about the durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerInfo {
    pub(super) at: Instant,
    pub(super) pending: u64,
    pub(super) unanswered: u64,
    /// The time that the durable stays paused from then on, if it is paused.
    pub(super) pause: Option<Duration>,
}

/// A phase in the life of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumerPhase {
    /// It is built and does not run yet.
    Built,
    /// It asks for events and handles them.
    Running,
    /// Its durable is paused: it asks for events, and the server delivers none until the pause ends.
    /// [`pause_remaining`](crate::ConsumerStatus::pause_remaining) returns when that is.
    Paused,
    /// The circuit breakers of all its event types are open: it asks for one event at a time, as a probe.
    /// [`open_breakers`](crate::ConsumerStatus::open_breakers) returns since when and why.
    CircuitOpen,
    /// It asks for nothing more and finishes what it has begun.
    Draining,
    /// It no longer runs.
    Ended,
}

impl ConsumerState {
    pub(super) fn new(
        meter: ConsumerMeter,
        breakers: Breakers,
        in_progress: Arc<InProgressSet>,
    ) -> Arc<Self> {
        Arc::new(Self {
            meter,
            breakers,
            in_progress,
            counts: Counts::default(),
            is_store_up: AtomicBool::new(true),
            phase: Mutex::new(ConsumerPhase::Built),
            server_info: Mutex::default(),
        })
    }

    /// Marks the consumer as running until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> RunGuard {
        *lock(&self.phase) = ConsumerPhase::Running;
        RunGuard(Arc::clone(self))
    }

    /// Marks the consumer as draining.
    pub(super) fn begin_drain(&self) {
        *lock(&self.phase) = ConsumerPhase::Draining;
    }

    pub(super) fn count(&self, what: impl Into<Count>) {
        self.count_many(what.into(), 1);
    }

    pub(super) fn count_many(&self, what: Count, added: u64) {
        self.counts.of(what).fetch_add(added, Ordering::Relaxed);
        self.meter.count(what, added);
    }

    pub(super) fn counts(&self) -> ConsumeSummary {
        self.counts.load()
    }

    /// Returns whether that is news.
    pub(super) fn set_store_up(&self, is_up: bool) -> bool {
        self.is_store_up() != is_up && self.is_store_up.swap(is_up, Ordering::Relaxed) != is_up
    }

    pub(super) fn is_store_up(&self) -> bool {
        self.is_store_up.load(Ordering::Relaxed)
    }

    /// Sets the gauges to the current values; returns how many messages are held.
    pub(super) fn update_gauges(&self) -> usize {
        let held = self.in_progress.len();
        self.meter.gauges(self.in_progress.in_flight(), held, self.is_store_up());
        held
    }

    pub(super) fn set_server_info(&self, pending: u64, unanswered: usize, pause: Option<Duration>) {
        let unanswered = u64::try_from(unanswered).unwrap_or(u64::MAX);
        self.meter.durable(pending, unanswered, pause.unwrap_or_default());
        *lock(&self.server_info) = Some(ServerInfo { at: Instant::now(), pending, unanswered, pause });
    }

    /// Returns how many messages of the durable are unanswered, as the server has reported last.
    pub(super) fn unanswered(&self) -> u64 {
        lock(&self.server_info).map_or(0, |info| info.unanswered)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let phase = *lock(&self.phase);
        let has_ended = phase == ConsumerPhase::Ended;
        Snapshot {
            phase,
            counts: self.counts(),
            in_flight: if has_ended { 0 } else { self.in_progress.in_flight() },
            held: if has_ended { 0 } else { self.in_progress.len() },
            is_store_up: self.is_store_up(),
            breakers: self.breakers.open(),
            server_info: *lock(&self.server_info),
        }
    }
}

impl Counts {
    fn of(&self, what: Count) -> &AtomicU64 {
        match what {
            Count::Received => &self.received,
            Count::Handled => &self.handled,
            Count::Duplicates => &self.duplicates,
            Count::Retried => &self.retried,
            Count::Deferred => &self.deferred,
            Count::Exhausted => &self.exhausted,
            Count::Rejected => &self.rejected,
            Count::Invalid => &self.invalid,
            Count::Parked => &self.parked,
            Count::Postponed => &self.postponed,
            Count::Returned => &self.returned,
            Count::Abandoned => &self.abandoned,
            Count::Expired => &self.expired,
        }
    }

    fn load(&self) -> ConsumeSummary {
        let count = |what| self.of(what).load(Ordering::Relaxed);
        ConsumeSummary {
            received: count(Count::Received),
            handled: count(Count::Handled),
            duplicates: count(Count::Duplicates),
            retried: count(Count::Retried),
            deferred: count(Count::Deferred),
            exhausted: count(Count::Exhausted),
            rejected: count(Count::Rejected),
            invalid: count(Count::Invalid),
            parked: count(Count::Parked),
            postponed: count(Count::Postponed),
            returned: count(Count::Returned),
            abandoned: count(Count::Abandoned),
            expired: count(Count::Expired),
        }
    }
}

/// A running consumer; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct RunGuard(Arc<ConsumerState>);

impl Drop for RunGuard {
    fn drop(&mut self) {
        *lock(&self.0.phase) = ConsumerPhase::Ended;
        self.0.meter.ended(self.0.is_store_up());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
