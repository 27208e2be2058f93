//! The choice between polling a delivery in place and giving it a task, and the worker that polls.
//!
//! What it earns, against a task for each delivery, in turns on two shared cores (`EVENTS=60000 cargo bench -p benches
//! --bench throughput -- "consume memory"`): handlers that end at once cost 14 to 17 us of CPU instead of 17 to 21, and
//! with 1,024 in flight reach 0.9 of raw async-nats instead of 0.8. Handlers that wait 1 ms cost the same either way.

use std::time::Duration;
use tokio::time::Instant;

/// The number of deliveries that are processed before their answers are sent.
pub(crate) const TURN: usize = 64;
/// A delivery that keeps the worker for longer is not polled in place.
const QUICK: Duration = Duration::from_micros(200);
/// The number of deliveries that get a task of their own after one that was not quick.
const SPAWNED: usize = 256;

/// The budget of the present worker for polling in place.
#[derive(Debug, Default)]
pub(crate) struct PollBudget {
    /// The number of the worker that may take deliveries. A stalled one is replaced.
    worker: u64,
    /// When the worker began to poll its delivery.
    polling_since: Option<Instant>,
    /// The number of deliveries polled in place in this turn.
    polled: usize,
    /// The number of deliveries that get a task of their own before one is polled in place.
    to_spawn: usize,
}

impl PollBudget {
    pub(crate) fn is_current(&self, worker: u64) -> bool {
        self.worker == worker
    }

    pub(crate) fn begin_turn(&mut self) {
        self.polled = 0;
    }

    /// Returns whether `worker` may poll one more delivery in this turn.
    pub(crate) fn has_polls_left(&self, worker: u64) -> bool {
        self.is_current(worker) && self.polled < TURN
    }

    pub(crate) fn begin_poll(&mut self, now: Instant) {
        self.polled += 1;
        self.polling_since = Some(now);
    }

    /// Ends the poll of a delivery that is ready. After one that was not quick, others get tasks.
    pub(crate) fn end_poll(&mut self, worker: u64, now: Instant) {
        if self.is_current(worker)
            && let Some(since) = self.polling_since.take()
            && now.duration_since(since) > QUICK
        {
            self.to_spawn = SPAWNED;
        }
    }

    /// Ends the poll of a delivery that has to wait; others get tasks as it does.
    pub(crate) fn end_pending_poll(&mut self, worker: u64) {
        // The time of another worker is not touched.
        if self.is_current(worker) {
            self.polling_since = None;
        }
        self.to_spawn = SPAWNED;
    }

    /// Takes from the budget how many of `ready` deliveries get tasks.
    pub(crate) fn take_spawns(&mut self, ready: usize) -> usize {
        let count = ready.min(self.to_spawn);
        self.to_spawn -= count;
        count
    }

    /// Returns whether the worker has polled one delivery for longer than `limit`.
    pub(crate) fn polls_longer_than(&self, limit: Duration) -> bool {
        self.polling_since.is_some_and(|since| since.elapsed() > limit)
    }

    /// Returns the number of a worker that takes the place of the present one.
    pub(crate) fn replace_worker(&mut self) -> u64 {
        self.polling_since = None;
        self.to_spawn = SPAWNED;
        self.worker += 1;
        self.worker
    }
}
