//! The rows that a relay holds, in one lane per unit: one row in flight, the others in order behind it.

use crate::{
    jitter,
    outbox::{row::Row, table::Report},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// The most rows of one unit that are held, so that other units have room.
pub(super) const OF_EACH_UNIT: usize = 100;
/// The first backoff of a unit whose event could not be published. It doubles with each failure.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest backoff.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// The most failing units that are retried at once, so that healthy units have room.
const RETRIES: usize = 250;
/// With this many units backing off, the fault is the broker's, and no more rows are requested.
const MANY: usize = 10_000;
/// Time after which a failing unit without pending rows is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// The rows that a relay holds.
///
/// The rows of a unit are an unbroken sequence from its oldest pending one: when one of them is given back, so are all
/// behind it. Rows of such a unit from a look that began before are discarded.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    units: HashMap<String, Lane>,
    /// Units with a row to publish and none in flight.
    ready: VecDeque<String>,
    /// Rows that are waiting, in flight, or published and not yet marked.
    held: HashSet<i64>,
    /// The payload of rows that are waiting or in flight.
    bytes: usize,
    /// Units whose last publish failed.
    failing: HashMap<String, Failing>,
    /// Units whose rows were given back since the current look began.
    given_back: HashSet<String>,
}

/// The rows of one unit.
#[derive(Debug, Default)]
struct Lane {
    is_busy: bool,
    waiting: VecDeque<Row>,
}

/// The backoff of a unit whose last publish failed.
#[derive(Debug, Clone, Copy)]
struct Failing {
    backoff: Duration,
    until: Instant,
}

impl Lanes {
    /// Returns how many rows are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Returns how many bytes of payload are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the ids of the rows that are held.
    pub(super) fn held(&self) -> Vec<i64> {
        self.held.iter().copied().collect()
    }

    /// Begins a look, and returns the units whose rows are not wanted: those with enough rows, those backing off, and
    /// those that must wait until fewer units are being retried.
    pub(super) fn blocked(&mut self) -> Vec<String> {
        self.given_back.clear();
        let (now, units) = (Instant::now(), &self.units);
        self.failing.retain(|uri, failing| units.contains_key(uri) || now < failing.until + FORGOTTEN_AFTER);
        let (retried, mut waiting): (Vec<_>, Vec<_>) =
            self.failing.iter().partition(|(uri, _)| units.contains_key(*uri));
        waiting.sort_unstable_by_key(|(_, failing)| failing.until);
        let due = waiting.partition_point(|(_, failing)| failing.until <= now);
        let waiting = waiting.iter().skip(due.min(RETRIES.saturating_sub(retried.len())));
        let full = units.iter().filter(|(_, lane)| lane.waiting.len() > OF_EACH_UNIT / 2).map(|(uri, _)| uri);
        let backing_off = retried.iter().chain(waiting).map(|(uri, _)| *uri);
        full.chain(backing_off).cloned().collect()
    }

    /// Returns whether more rows may be requested.
    pub(super) fn can_take_more(&self) -> bool {
        let now = Instant::now();
        self.failing.values().filter(|failing| now < failing.until).count() < MANY
    }

    /// Returns whether the unit's last publish failed.
    pub(super) fn is_failing(&self, uri: &str) -> bool {
        self.failing.contains_key(uri)
    }

    /// Adds the rows of a look, in the order of their ids; of a unit that is being retried, only one.
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let is_retried = self.is_failing(&row.uri) && self.units.contains_key(&row.uri);
            if is_retried || self.given_back.contains(&row.uri) || !self.held.insert(row.id) {
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

    /// Returns the next row to publish. Its unit is busy until the row is [`done`](Self::done) or
    /// [`failed`](Self::failed).
    pub(super) fn next(&mut self) -> Option<Row> {
        loop {
            let lane = self.units.get_mut(&self.ready.pop_front()?);
            // A unit whose rows were given back is no longer ready.
            if let Some(lane) = lane.filter(|lane| !lane.is_busy)
                && let Some(row) = lane.waiting.pop_front()
            {
                lane.is_busy = true;
                return Some(row);
            }
        }
    }

    /// Finishes the row in flight. It is held until it is marked.
    pub(super) fn done(&mut self, row: &Row) {
        self.bytes = self.bytes.saturating_sub(row.payload.len());
        if self.failing.remove(&row.uri).is_some() {
            // Its cause is over, perhaps for the other units too.
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

    /// Gives back the row in flight, which needs another attempt, and all behind it. The unit backs off.
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

    /// Gives back all waiting rows, and keeps those in flight.
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

    /// Drops rows that are marked.
    pub(super) fn forget(&mut self, report: &Report) {
        let quarantined = report.quarantined.iter().map(|(id, _)| id);
        for id in report.sent.iter().chain(quarantined) {
            self.held.remove(id);
        }
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
