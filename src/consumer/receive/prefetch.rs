//! The number of messages to hold: as many as will begin within a short time, at the rate seen lately.
//!
//! With slow handlers it is the number that may run at once, so that what waits here is not kept from an idle replica.
//! With quick ones, requests for a few messages each would cost more than the handlers do.

use crate::consumer::{ConsumerOptions, Order};
use std::time::Duration;
use tokio::time::Instant;

/// The time within which a held message begins.
const WITHIN: Duration = Duration::from_millis(100);
/// The shortest time that a rate is measured over.
const MEASURED_OVER: Duration = Duration::from_millis(10);
/// The most bytes of messages to hold, beyond what may run at once.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The number of messages that their size is averaged over.
const AVERAGED_OVER: usize = 64;
/// The number of checks, one in 250 ms, after which messages that should not be held are given back.
const PATIENCE: u32 = 4;

/// A measurement of how quickly messages arrive and end, and what follows for the number to be held.
#[derive(Debug)]
pub(crate) struct Prefetch {
    least: usize,
    most: usize,
    since: Instant,
    ended: u64,
    /// The number that end within [`WITHIN`], as a moving average.
    soon: u64,
    /// The size of [`AVERAGED_OVER`] messages, as a moving average.
    bytes: usize,
    /// The number of checks in a row that found too many held.
    too_many: u32,
}

impl Prefetch {
    pub(crate) fn new(options: &ConsumerOptions, now: Instant) -> Self {
        let least = options.max_in_flight;
        // One process receives, and all that is unanswered has to have room there.
        let most = if options.order == Order::PerUnit { least } else { least.max(options.max_prefetch) };
        Self { least, most, since: now, ended: 0, soon: 0, bytes: 0, too_many: 0 }
    }

    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.bytes = self.bytes - self.bytes / AVERAGED_OVER + bytes;
    }

    pub(crate) fn ended(&mut self) {
        self.ended += 1;
    }

    /// Returns how many messages to hold.
    pub(crate) fn target(&mut self, now: Instant) -> usize {
        let measured = now.duration_since(self.since);
        if measured >= MEASURED_OVER {
            self.measure(micros(measured));
            self.since = now;
        }
        let soon = usize::try_from(self.soon).unwrap_or(usize::MAX);
        let in_bytes = MOST_BYTES.saturating_mul(AVERAGED_OVER) / self.bytes.max(1);
        soon.min(in_bytes).clamp(self.least, self.most)
    }

    fn measure(&mut self, measured: u64) {
        let within = micros(WITHIN);
        let soon = std::mem::take(&mut self.ended).saturating_mul(within) / measured;
        // A measurement counts as much as it lasted.
        let weight = measured.min(within);
        self.soon = (self.soon * (within - weight) + soon * weight) / within;
    }

    /// Checks how many are held; returns whether it were too many in the last [`PATIENCE`] checks.
    pub(crate) fn holds_too_many(&mut self, held: usize, now: Instant) -> bool {
        self.too_many = if held > self.target(now) { self.too_many + 1 } else { 0 };
        self.too_many >= PATIENCE
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(prefetch: &mut Prefetch, now: &mut Instant, events: u32, bytes: usize) -> usize {
        *now += Duration::from_millis(100);
        for _ in 0..events {
            prefetch.arrived(bytes);
            prefetch.ended();
        }
        prefetch.target(*now)
    }

    #[test]
    fn as_many_are_held_as_begin_soon() {
        let mut now = Instant::now();
        let mut prefetch = Prefetch::new(&ConsumerOptions::default(), now);
        assert_eq!(prefetch.target(now), 64);
        assert_eq!(after(&mut prefetch, &mut now, 64, 600), 64);
        assert_eq!(after(&mut prefetch, &mut now, 500, 600), 500);
        assert_eq!(after(&mut prefetch, &mut now, 5_000, 600), 1_024);
        // Sixteen MiB of them.
        assert_eq!(after(&mut prefetch, &mut now, 5_000, 128 * 1024), 128);
        assert_eq!(after(&mut prefetch, &mut now, 5_000, 1024 * 1024), 64);
        assert_eq!(after(&mut prefetch, &mut now, 0, 600), 64);
    }

    #[test]
    fn too_many_are_held_once_they_were_for_a_second() {
        let mut now = Instant::now();
        let mut prefetch = Prefetch::new(&ConsumerOptions::default(), now);
        assert_eq!(after(&mut prefetch, &mut now, 1_000, 600), 1_000);
        let mut too_many = |held| {
            now += Duration::from_millis(250);
            prefetch.holds_too_many(held, now)
        };
        assert_eq!([1_000, 1_000, 60, 900, 900, 900].map(&mut too_many), [false; 6]);
        assert_eq!([900, 64].map(&mut too_many), [true, false]);
    }

    #[test]
    fn strict_order_holds_what_may_run() {
        let mut now = Instant::now();
        let options = ConsumerOptions::default().with_order(Order::PerUnit);
        let mut prefetch = Prefetch::new(&options, now);
        assert_eq!(after(&mut prefetch, &mut now, 5_000, 600), 64);
    }
}
