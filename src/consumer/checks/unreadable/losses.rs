//! The recent losses of the connection.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The time for which a loss is remembered. An event that cuts the connection is redelivered after an ack wait, and may
/// go to other processes in between.
const ACK_WAITS: u32 = 10;
const SHORTEST_MEMORY: Duration = Duration::from_secs(60);
/// The largest count.
const MOST: usize = 1000;

/// The recent losses of the connection, derived from the number of times that it was made.
#[derive(Debug)]
pub(super) struct Losses {
    connects: u64,
    recent: VecDeque<Instant>,
    remembered_for: Duration,
}

impl Losses {
    pub(super) fn new(connects: u64, ack_wait: Duration) -> Self {
        let remembered_for = ack_wait.saturating_mul(ACK_WAITS).max(SHORTEST_MEMORY);
        Self { connects, recent: VecDeque::new(), remembered_for }
    }

    /// Returns whether the connection was lost since the last call, and not for the first time recently: one loss may
    /// be chance.
    pub(super) fn have_repeated(&mut self, connects: u64, now: Instant) -> bool {
        let new = connects.saturating_sub(self.connects);
        self.connects = connects;
        self.recent.retain(|at| now.duration_since(*at) < self.remembered_for);
        let room = MOST.saturating_sub(self.recent.len());
        self.recent.extend(std::iter::repeat_n(now, usize::try_from(new).unwrap_or(room).min(room)));
        new > 0 && self.recent.len() > 1
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.recent.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loss_is_chance_and_a_second_one_soon_after_is_not() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut losses = Losses::new(1, Duration::from_secs(45));
        assert!(!losses.have_repeated(1, after(1)));
        assert!(!losses.have_repeated(2, after(2)));
        assert!(losses.have_repeated(3, after(47)));
        assert_eq!(losses.count(), 2);
        // Each loss is a reason for one search.
        assert!(!losses.have_repeated(3, after(48)));
        assert!(losses.have_repeated(4, after(92)));
        // Ten ack waits later the others are forgotten.
        assert!(!losses.have_repeated(5, after(92 + 450)));
        assert!(losses.have_repeated(7, after(2000)));
    }
}
