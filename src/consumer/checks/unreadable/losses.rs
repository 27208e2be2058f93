//! The recent losses of the connection.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// An event that cuts the connection comes again after an ack wait, and goes to another process in between, if there
/// are some.
const ACK_WAITS: u32 = 10;
const SHORTEST_MEMORY: Duration = Duration::from_secs(60);
/// The largest count.
const MOST: usize = 1000;

/// The losses of the connection of late, by how often it was made.
#[derive(Debug)]
pub(super) struct Losses {
    connects: u64,
    of_late: VecDeque<Instant>,
    remembered_for: Duration,
}

impl Losses {
    pub(super) fn new(connects: u64, ack_wait: Duration) -> Self {
        let remembered_for = ack_wait.saturating_mul(ACK_WAITS).max(SHORTEST_MEMORY);
        Self { connects, of_late: VecDeque::new(), remembered_for }
    }

    /// Returns whether the connection was lost since the last call, and not for the first time recently. Once may be
    /// chance.
    pub(super) fn come_again(&mut self, connects: u64, now: Instant) -> bool {
        let new = connects.saturating_sub(self.connects);
        self.connects = connects;
        self.of_late.retain(|at| now.duration_since(*at) < self.remembered_for);
        let room = MOST.saturating_sub(self.of_late.len());
        self.of_late.extend(std::iter::repeat_n(now, usize::try_from(new).unwrap_or(room).min(room)));
        new > 0 && self.of_late.len() > 1
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.of_late.len()).unwrap_or(u64::MAX)
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
        assert!(!losses.come_again(1, after(1)));
        assert!(!losses.come_again(2, after(2)));
        assert!(losses.come_again(3, after(47)));
        assert_eq!(losses.count(), 2);
        // Each loss is a reason to look once.
        assert!(!losses.come_again(3, after(48)));
        assert!(losses.come_again(4, after(92)));
        // Ten ack waits later the others are forgotten.
        assert!(!losses.come_again(5, after(92 + 450)));
        assert!(losses.come_again(7, after(2000)));
    }
}
