//! Whether batches pay: measured, since a server does not say how often it syncs.
//!
//! Where it syncs each write, a batch of many events costs little more than one event. Elsewhere single publishes in flight are
//! quicker, since it syncs a batch in any case.

use std::time::Duration;
use tokio::time::Instant;

/// Fewer rows are not worth a batch.
const WORTH_A_BATCH: usize = 32;
/// Fewer rows under way say how far the server is away, and not how many it can store.
const MANY: usize = 250;
/// A server that takes longer for one of many rows syncs each, or is far away; batches of many are quicker for both.
const SLOW: Duration = Duration::from_micros(150);
/// How long a server is thought slow. It is then measured anew.
const BELIEVED: Duration = Duration::from_secs(60);

/// What was measured of late.
#[derive(Debug, Default)]
pub(super) struct Pace {
    slow_until: Option<Instant>,
    takes_no_batches: bool,
}

impl Pace {
    /// Whether to publish in batches, for now.
    pub(super) fn prefers_batches(&self) -> bool {
        !self.takes_no_batches && self.slow_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether so many rows are worth a batch, for now.
    pub(super) fn is_worth_a_batch(&self, rows: usize) -> bool {
        rows >= WORTH_A_BATCH && self.prefers_batches()
    }

    /// One row took so long, with so many under way: by Little's law each of them took its part of the time.
    pub(super) fn took(&mut self, time: Duration, under_way: usize) {
        let of_each = u32::try_from(under_way).map_or(Duration::ZERO, |under_way| time / under_way.max(1));
        if under_way >= MANY && of_each > SLOW {
            self.slow_until = Some(Instant::now() + BELIEVED);
        }
    }

    /// The server or the stream takes none.
    pub(super) fn takes_no_batches(&mut self) {
        self.takes_no_batches = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn batches_are_preferred_for_a_while_where_many_single_rows_were_slow() {
        let mut pace = Pace::default();
        pace.took(20 * MS, 1000);
        assert!(!pace.is_worth_a_batch(1000));
        pace.took(200 * MS, 1000);
        assert!(pace.is_worth_a_batch(1000));
        assert!(!pace.is_worth_a_batch(WORTH_A_BATCH - 1));
        tokio::time::advance(BELIEVED).await;
        assert!(!pace.is_worth_a_batch(1000));
    }

    #[tokio::test]
    async fn few_rows_under_way_say_nothing() {
        let mut pace = Pace::default();
        pace.took(1000 * MS, MANY - 1);
        assert!(!pace.prefers_batches());
    }

    #[tokio::test]
    async fn where_no_batches_are_taken_none_is_tried_again() {
        let mut pace = Pace::default();
        pace.takes_no_batches();
        pace.took(1000 * MS, 1000);
        assert!(!pace.prefers_batches());
    }
}
