//! The age of an event that was not delivered here, which no one but its stream knows exactly.

use crate::{consumer::checks::look::Look, nats::ack_subject::AckSubject};
use std::{collections::BTreeMap, time::Duration};

/// The most sequences that are kept: with so many, an age of 30 days is still known to within 3 hours.
const MOST: usize = 256;

/// The times at which some sequences of a stream were stored, and so the age of those between them.
///
/// The server reports the times of the oldest and the newest message at each look, and that of each delivery. What lies
/// between two that are known is taken to have been stored at an even rate.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// The server's time at the last look, since 1970.
    now: Duration,
    /// Since 1970.
    stored_at: BTreeMap<u64, Duration>,
}

impl Ages {
    /// Learns from a look and from the oldest delivery since the one before.
    pub(crate) fn learn(&mut self, look: &Look, oldest: Option<AckSubject>) {
        self.now = look.time.unwrap_or(self.now);
        let known = look.ends.into_iter().flatten();
        self.stored_at.extend(known.chain(oldest.map(|oldest| (oldest.sequence, oldest.stored_at))));
        // What is gone has no age, and sequences beyond the end are those of a stream that was there before.
        self.stored_at.retain(|sequence, _| (look.first..=look.last).contains(sequence));
        while self.stored_at.len() > MOST {
            let Some(sequence) = self.least_missed() else { return };
            self.stored_at.remove(&sequence);
        }
    }

    /// Returns the sequence whose neighbours were stored closest to each other.
    fn least_missed(&self) -> Option<u64> {
        let (times, between) = (self.stored_at.values(), self.stored_at.keys().skip(1));
        let gaps = times.clone().skip(2).zip(times).map(|(after, before)| after.saturating_sub(*before));
        gaps.zip(between).min().map(|(_, sequence)| *sequence)
    }

    /// Returns how long ago the event at `sequence` was stored; zero if nothing is known.
    pub(crate) fn of(&self, sequence: u64) -> Duration {
        let before = self.stored_at.range(..=sequence).next_back();
        let after = self.stored_at.range(sequence..).next();
        let stored_at = match (before, after) {
            (Some((first, from)), Some((last, to))) if first < last => {
                let between = to.saturating_sub(*from).as_nanos();
                let part = between * u128::from(sequence - first) / u128::from(last - first);
                *from + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
            }
            (_, Some((_, at))) | (Some((_, at)), None) => *at,
            (None, None) => return Duration::ZERO,
        };
        self.now.saturating_sub(stored_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A stream from 11, stored at 100 s, to `last`, stored at `now`.
    fn look(last: u64, now: u64) -> Look {
        Look {
            first: 11,
            last,
            time: Some(at(now)),
            ends: [Some((11, at(100))), Some((last, at(now)))],
            ..Look::default()
        }
    }

    #[test]
    fn an_age_lies_between_those_that_are_known() {
        let mut ages = Ages::default();
        assert_eq!(ages.of(11), Duration::ZERO);
        ages.learn(&look(21, 200), None);
        assert_eq!([11, 16, 21, 22].map(|sequence| ages.of(sequence)), [100, 50, 0, 0].map(at));
        // After 21 nothing was stored for long.
        ages.learn(&look(31, 1000), None);
        assert_eq!([11, 16, 21, 26].map(|sequence| ages.of(sequence)), [900, 850, 800, 400].map(at));
    }

    #[test]
    fn a_delivery_shows_its_age() {
        let mut ages = Ages::default();
        let delivery = AckSubject { deliveries: 1, sequence: 20, delivery: 1, stored_at: at(110) };
        ages.learn(&look(21, 200), Some(delivery));
        assert_eq!(ages.of(20), at(90));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut ages = Ages::default();
        ages.learn(&look(1000, 200), None);
        // The stream was recreated.
        let empty = Look { first: 1, last: 0, time: Some(at(300)), ..Look::default() };
        ages.learn(&empty, None);
        assert_eq!((ages.of(11), ages.stored_at.len()), (Duration::ZERO, 0));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_its_ends() {
        let mut ages = Ages::default();
        // More and more is stored in each second.
        let sequence = |second| 100 + second * second;
        for second in 0..10_000 {
            ages.learn(&look(sequence(second), 1000 + second), None);
            assert!(ages.stored_at.len() <= MOST);
        }
        assert_eq!((ages.of(11), ages.of(sequence(9999))), (at(10_899), at(0)));
        for second in [100, 5000, 9900] {
            let error = ages.of(sequence(second)).abs_diff(at(9999 - second));
            assert!(error <= at(60), "{error:?} at {second}");
        }
    }
}
