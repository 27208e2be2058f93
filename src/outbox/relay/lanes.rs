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

/// How many rows of one unit are held at most, so that those of others have room beside them.
pub(super) const OF_EACH_UNIT: usize = 100;
/// How long a unit backs off when its event could not be published for the first time, and twice as long each time after it.
const BACKOFF: Duration = Duration::from_secs(1);
/// How long at most.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How many units that have failed may be tried again at once: the rest of the room is for those that have not.
const RETRIES: usize = 250;
/// With so many units backing off the broker has failed, not they: nothing more is asked for.
const MANY: usize = 10_000;
/// When a unit that nothing was found of any more counts as one that has never failed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// The rows that a relay holds.
///
/// The rows of a unit are an unbroken sequence from its oldest pending one: when one of them is given back, so are all
/// behind it. What a look that is under way brings of such a unit is not taken, since it was asked for before.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    units: HashMap<String, Lane>,
    /// Units that have a row to publish and none under way.
    ready: VecDeque<String>,
    /// Waiting, under way, or published and not yet marked.
    held: HashSet<i64>,
    /// The payload of those that wait or are under way.
    bytes: usize,
    /// Units whose oldest event could not be published.
    failing: HashMap<String, Failing>,
    /// Units whose rows were given back since the look began.
    given_back: HashSet<String>,
}

#[derive(Debug, Default)]
struct Lane {
    is_busy: bool,
    waiting: VecDeque<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    backoff: Duration,
    until: Instant,
}

impl Lanes {
    /// How many rows are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many bytes of payload are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn held(&self) -> Vec<i64> {
        self.held.iter().copied().collect()
    }

    /// Units whose rows are not wanted in the look that now begins: those that have enough, those that are backing off, and
    /// those that have to wait until fewer are tried again.
    pub(super) fn blocked(&mut self) -> Vec<String> {
        self.given_back.clear();
        let (now, units) = (Instant::now(), &self.units);
        self.failing.retain(|uri, failing| units.contains_key(uri) || now < failing.until + FORGOTTEN_AFTER);
        let (tried, mut waiting): (Vec<_>, Vec<_>) =
            self.failing.iter().partition(|(uri, _)| units.contains_key(*uri));
        waiting.sort_unstable_by_key(|(_, failing)| failing.until);
        let due = waiting.partition_point(|(_, failing)| failing.until <= now);
        let waiting = waiting.iter().skip(due.min(RETRIES.saturating_sub(tried.len())));
        let full = units.iter().filter(|(_, lane)| lane.waiting.len() > OF_EACH_UNIT / 2).map(|(uri, _)| uri);
        let backing_off = tried.iter().chain(waiting).map(|(uri, _)| *uri);
        full.chain(backing_off).cloned().collect()
    }

    pub(super) fn can_take_more(&self) -> bool {
        let now = Instant::now();
        self.failing.values().filter(|failing| now < failing.until).count() < MANY
    }

    /// Whether the unit's last publish failed.
    pub(super) fn is_failing(&self, uri: &str) -> bool {
        self.failing.contains_key(uri)
    }

    /// Takes rows that a look brought, in the order of their ids. Of a unit that is tried again it takes one.
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let is_tried = self.is_failing(&row.uri) && self.units.contains_key(&row.uri);
            if is_tried || self.given_back.contains(&row.uri) || !self.held.insert(row.id) {
                continue;
            }
            let lane = self.units.entry(row.uri.clone()).or_default();
            if !lane.is_busy && lane.waiting.is_empty() {
                self.ready.push_back(row.uri.clone());
            }
            self.bytes += row.payload.len();
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
        self.bytes = self.bytes.saturating_sub(row.payload.len());
        if self.failing.remove(&row.uri).is_some() {
            // What kept it from being published is over, and maybe for the others too.
            let now = Instant::now();
            self.failing.values_mut().for_each(|failing| failing.until = failing.until.min(now));
        }
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
        self.let_go(row);
        for waiting in self.units.remove(&row.uri).into_iter().flat_map(|lane| lane.waiting) {
            self.let_go(&waiting);
        }
        self.given_back.insert(row.uri.clone());
        let backoff = self.failing.get(&row.uri).map_or(BACKOFF, |failing| failing.backoff * 2);
        let backoff = backoff.min(LONGEST_BACKOFF);
        let until = Instant::now() + jitter::spread(backoff);
        self.failing.insert(row.uri.clone(), Failing { backoff, until });
    }

    /// Gives back all rows that wait, and keeps those under way.
    pub(super) fn give_up_waiting(&mut self) {
        let waiting: Vec<_> = self.units.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
        for row in waiting {
            self.let_go(&row);
            self.given_back.insert(row.uri);
        }
        self.ready.clear();
        self.units.retain(|_, lane| lane.is_busy);
    }

    fn let_go(&mut self, row: &Row) {
        self.held.remove(&row.id);
        self.bytes = self.bytes.saturating_sub(row.payload.len());
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
#[path = "lanes_tests.rs"]
mod tests;
