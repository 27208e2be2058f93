//! The choice between batches and single publishes, by measurement, since a server does not report how often it syncs.
//!
//! If the server syncs each write, a batch of many events costs little more than one event. Otherwise single publishes
//! in flight are faster, since a batch is always synced.
//!
//! Neither of the two alone is good everywhere. Events per second from PostgreSQL / SQLite, as a multiple of those of
//! single publishes in the same run (`ROUNDS=3 COUNT=10000 cargo bench -p benches --bench stores -- relay`, medians, on
//! two busy cores; for "always" with a `prefers_batches` that is true unless disabled):
//!
//! | server | this policy | batches always |
//! |---|---|---|
//! | syncs each write | 2.9 / 3.4, the first single publishes included | 7.0 / 6.5 |
//! | does not | 1.07 / 0.97 | 0.84 / 0.85 |

use std::time::Duration;
use tokio::time::Instant;

/// The fewest rows worth a batch.
const WORTH_A_BATCH: usize = 32;
/// The fewest rows in flight for a measurement. With fewer, latency dominates, not the throughput of the server.
const MANY: usize = 250;
/// Time per row beyond which the server syncs each write, or is far away; batches are faster in both cases.
const SLOW: Duration = Duration::from_micros(150);
/// Time for which a measurement is valid.
const BELIEVED: Duration = Duration::from_secs(60);

/// A policy that decides on batches by the latest measurement.
#[derive(Debug, Default)]
pub(super) struct BatchPolicy {
    slow_until: Option<Instant>,
    is_disabled: bool,
}

impl BatchPolicy {
    /// Returns whether batches are preferable at the moment.
    pub(super) fn prefers_batches(&self) -> bool {
        !self.is_disabled && self.slow_until.is_some_and(|until| Instant::now() < until)
    }

    /// Returns whether so many rows are worth a batch at the moment.
    pub(super) fn is_worth_a_batch(&self, rows: usize) -> bool {
        rows >= WORTH_A_BATCH && self.prefers_batches()
    }

    /// Records that one row took `time` with so many in flight: by Little's law, each of them took its share of the
    /// time.
    pub(super) fn measured(&mut self, time: Duration, in_flight: usize) {
        let of_each = u32::try_from(in_flight).map_or(Duration::ZERO, |in_flight| time / in_flight.max(1));
        if in_flight >= MANY && of_each > SLOW {
            self.slow_until = Some(Instant::now() + BELIEVED);
        }
    }

    /// Disables batches, since the server or stream does not support them.
    pub(super) fn disable(&mut self) {
        self.is_disabled = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn batches_are_preferred_while_many_single_rows_were_slow() {
        let mut policy = BatchPolicy::default();
        policy.measured(20 * MS, 1000);
        assert!(!policy.is_worth_a_batch(1000));
        policy.measured(200 * MS, 1000);
        assert!(policy.is_worth_a_batch(1000));
        assert!(!policy.is_worth_a_batch(WORTH_A_BATCH - 1));
        tokio::time::advance(BELIEVED).await;
        assert!(!policy.is_worth_a_batch(1000));
    }

    #[tokio::test]
    async fn few_rows_in_flight_are_no_measurement() {
        let mut policy = BatchPolicy::default();
        policy.measured(1000 * MS, MANY - 1);
        assert!(!policy.prefers_batches());
    }

    #[tokio::test]
    async fn once_disabled_batches_are_not_tried_again() {
        let mut policy = BatchPolicy::default();
        policy.disable();
        policy.measured(1000 * MS, 1000);
        assert!(!policy.prefers_batches());
    }
}
