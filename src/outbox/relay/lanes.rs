//! The rows that a relay holds: of each unit one at a time, the others in order behind it.

use crate::{
    jitter,
    outbox::{row::Row, table::Report},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// How long a unit backs off when its event could not be published for the first time; twice as long each time after.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// With so many units backing off the broker has failed, not they: nothing more is asked for.
const MANY: usize = 10_000;
/// How many rows of one unit are asked for: with all of a unit that has many, no other would have room.
pub(super) const OF_EACH_UNIT: usize = 100;

/// The rows that a relay holds.
///
/// The rows of a unit are an unbroken sequence from its oldest pending one: when one of them is given back, so are all
/// behind it. What a look that is under way brings of such a unit is not taken, since it began before; the unit stands in
/// `backing_off` until the next look begins, and longer if it is to wait.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    units: HashMap<String, Lane>,
    /// Units that have a row to publish and none under way.
    ready: VecDeque<String>,
    /// Waiting, under way, or published and not yet marked.
    held: HashSet<i64>,
    bytes: usize,
    backing_off: HashMap<String, Instant>,
    /// How often in a row each unit failed.
    failures: HashMap<String, u32>,
}

#[derive(Debug, Default)]
struct Lane {
    is_busy: bool,
    waiting: VecDeque<Row>,
}

impl Lanes {
    /// How many rows are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The payload of the rows that wait or are under way.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn held(&self) -> Vec<i64> {
        self.held.iter().copied().collect()
    }

    /// Units whose rows are not wanted in the look that now begins: they back off, or have enough.
    pub(super) fn blocked(&mut self) -> Vec<String> {
        let now = Instant::now();
        self.backing_off.retain(|_, until| now < *until);
        let have_enough = self.units.iter().filter(|(_, lane)| lane.waiting.len() >= OF_EACH_UNIT / 2);
        self.backing_off.keys().chain(have_enough.map(|(uri, _)| uri)).cloned().collect()
    }

    pub(super) fn can_take_more(&self) -> bool {
        self.backing_off.len() < MANY
    }

    /// Takes rows that a look brought, in the order of their ids.
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            if self.backing_off.contains_key(&row.uri) || !self.held.insert(row.id) {
                continue;
            }
            self.bytes += row.payload.len();
            let lane = self.units.entry(row.uri.clone()).or_default();
            if !lane.is_busy && lane.waiting.is_empty() {
                self.ready.push_back(row.uri.clone());
            }
            lane.waiting.push_back(row);
        }
    }

    /// The next row to publish; its unit is busy until it is [`done`](Self::done) or [`failed`](Self::failed).
    pub(super) fn next(&mut self) -> Option<Row> {
        loop {
            let lane = self.units.get_mut(&self.ready.pop_front()?);
            // What was given back is not ready any more.
            if let Some(lane) = lane.filter(|lane| !lane.is_busy)
                && let Some(row) = lane.waiting.pop_front()
            {
                lane.is_busy = true;
                return Some(row);
            }
        }
    }

    /// The row under way needs no other attempt. It is held until it is marked.
    pub(super) fn done(&mut self, row: &Row) {
        self.failures.remove(&row.uri);
        self.bytes = self.bytes.saturating_sub(row.payload.len());
        let Some(lane) = self.units.get_mut(&row.uri) else { return };
        lane.is_busy = false;
        if lane.waiting.is_empty() {
            self.units.remove(&row.uri);
        } else {
            self.ready.push_back(row.uri.clone());
        }
    }

    /// The row under way needs another attempt: it and all behind it are given back, and the unit backs off.
    pub(super) fn failed(&mut self, row: &Row) {
        self.held.remove(&row.id);
        self.bytes = self.bytes.saturating_sub(row.payload.len());
        for waiting in self.units.remove(&row.uri).into_iter().flat_map(|lane| lane.waiting) {
            self.held.remove(&waiting.id);
            self.bytes = self.bytes.saturating_sub(waiting.payload.len());
        }
        // Units that were given up since are in it as well: what is forgotten only begins with a short wait again.
        if self.failures.len() >= 2 * MANY {
            self.failures.clear();
        }
        let failures = self.failures.entry(row.uri.clone()).or_default();
        let backoff = BACKOFF.saturating_mul(1 << (*failures).min(16)).min(LONGEST_BACKOFF);
        *failures += 1;
        self.backing_off.insert(row.uri.clone(), Instant::now() + jitter::spread(backoff));
    }

    /// Gives back all rows that wait, and keeps those under way.
    pub(super) fn give_up_waiting(&mut self) {
        for (uri, lane) in &mut self.units {
            for row in lane.waiting.drain(..) {
                self.held.remove(&row.id);
                self.bytes = self.bytes.saturating_sub(row.payload.len());
                self.backing_off.entry(uri.clone()).or_insert_with(Instant::now);
            }
        }
        self.ready.clear();
        self.units.retain(|_, lane| lane.is_busy);
    }

    /// What is marked need not be held.
    pub(super) fn forget(&mut self, report: &Report) {
        let set_aside = report.set_aside.iter().map(|(id, _)| id);
        for id in report.sent.iter().chain(set_aside) {
            self.held.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, uri: &str) -> Row {
        let (subject, message_id) = (String::new(), String::new());
        Row { id, uri: uri.into(), subject, message_id, payload: Vec::new(), trace: None }
    }

    fn ids(lanes: &mut Lanes) -> Vec<i64> {
        std::iter::from_fn(|| lanes.next()).map(|row| row.id).collect()
    }

    #[test]
    fn of_each_unit_one_is_under_way_and_the_others_follow_in_order() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "b"), row(3, "a"), row(4, "a")]);
        assert_eq!(ids(&mut lanes), [1, 2]);
        lanes.done(&row(1, "a"));
        lanes.add(vec![row(5, "a")]);
        assert_eq!(ids(&mut lanes), [3]);
        lanes.done(&row(3, "a"));
        lanes.done(&row(2, "b"));
        assert_eq!(ids(&mut lanes), [4]);
        lanes.done(&row(4, "a"));
        assert_eq!(ids(&mut lanes), [5]);
        // Held until they are marked.
        assert_eq!(lanes.len(), 5);
        lanes.forget(&Report { sent: vec![1, 2, 3], set_aside: vec![(4, String::new())] });
        assert_eq!(lanes.held(), [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_look_brings_of_a_unit_that_failed_is_not_taken() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
        assert_eq!(ids(&mut lanes), [1, 3]);
        // A look begins that does not want 1, 2 and 3, and brings 4 long after 1 has failed.
        assert!(lanes.blocked().is_empty());
        lanes.failed(&row(1, "a"));
        assert_eq!(lanes.held(), [3]);
        tokio::time::advance(BACKOFF * 2).await;
        lanes.add(vec![row(4, "a"), row(5, "b")]);
        lanes.done(&row(3, "b"));
        assert_eq!(ids(&mut lanes), [5]);
        // The next one brings all of them.
        assert!(lanes.blocked().is_empty());
        lanes.add(vec![row(1, "a"), row(2, "a"), row(4, "a")]);
        assert_eq!(ids(&mut lanes), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_that_fails_backs_off_longer_each_time() {
        let mut lanes = Lanes::default();
        for factor in [1, 2, 4, 8, 16] {
            lanes.add(vec![row(1, "a")]);
            lanes.next().unwrap();
            lanes.failed(&row(1, "a"));
            // The random part is a fifth at most either way.
            tokio::time::advance(BACKOFF * factor * 3 / 4).await;
            assert_eq!(lanes.blocked(), ["a"]);
            tokio::time::advance(BACKOFF * factor).await;
            assert!(lanes.blocked().is_empty());
        }
        lanes.add(vec![row(1, "a"), row(2, "a")]);
        lanes.next().unwrap();
        lanes.done(&row(1, "a"));
        lanes.next().unwrap();
        lanes.failed(&row(2, "a"));
        tokio::time::advance(BACKOFF * 2).await;
        assert!(lanes.blocked().is_empty());
    }

    #[test]
    fn a_unit_that_has_enough_is_not_asked_for() {
        let mut lanes = Lanes::default();
        lanes.add((0..100).map(|id| row(id, "a")).collect());
        assert_eq!(lanes.blocked(), ["a"]);
        for id in 0..51 {
            assert_eq!(lanes.next().unwrap().id, id);
            lanes.done(&row(id, "a"));
        }
        assert!(lanes.blocked().is_empty());
    }

    #[test]
    fn what_is_given_up_comes_again_behind_what_is_under_way() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
        assert_eq!(lanes.next().unwrap().id, 1);
        lanes.give_up_waiting();
        assert_eq!(lanes.held(), [1]);
        // A look that began before.
        lanes.add(vec![row(4, "a"), row(5, "b")]);
        assert!(lanes.next().is_none());
        assert!(lanes.blocked().is_empty());
        lanes.add(vec![row(2, "a"), row(3, "b"), row(4, "a")]);
        assert_eq!(ids(&mut lanes), [3]);
        lanes.done(&row(1, "a"));
        assert_eq!(ids(&mut lanes), [2]);
    }
}
