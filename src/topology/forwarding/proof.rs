//! The proof by sequence that everything is forwarded, over several looks. Pure: it knows neither broker nor clock.

use super::look::{Look, Reached};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// The time between two heals: each interrupts forwarding for a moment.
pub(super) const HEAL_EVERY: Duration = Duration::from_secs(5 * 60);
/// The time within which forwarding stops again after a heal if flow control is missing: it gets one more window.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// The knowledge of forwarding between two looks.
///
/// An event of the origin is owed until Choco has it or a later one. It is never replaced by a newer one meanwhile, so
/// that load, however high, is no stall.
#[derive(Debug, Default)]
pub(super) struct Proof {
    origin: Option<OffsetDateTime>,
    proven: u64,
    /// Nothing is owed up to here: it was removed, or may be among the messages that Choco has lost.
    assumed: u64,
    newest: u64,
    owed: Option<Owed>,
    /// When the last progress was seen, or the broker last did not answer.
    quiet_from: Option<Instant>,
    missing_from: Option<Instant>,
    healed: Option<Healed>,
}

#[derive(Debug, Clone, Copy)]
struct Owed {
    sequence: u64,
    since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Healed {
    at: Instant,
    last_progress: Option<Instant>,
}

/// The result of the proof at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) proven: u64,
    /// The sequences between what is proven and the newest event.
    pub(super) behind: u64,
    pub(super) behind_for: Option<Duration>,
    /// The time for which nothing of what is owed was forwarded.
    pub(super) stalled_for: Option<Duration>,
    pub(super) is_origin_missing: bool,
    /// True if forwarding stopped again at once when it was healed.
    pub(super) stops_again: bool,
}

impl Proof {
    /// Takes what a look has found.
    pub(super) fn see(&mut self, now: Instant, look: &Look) {
        let is_first = self.origin.is_none();
        if self.origin != Some(look.created) {
            *self = Self { origin: Some(look.created), healed: self.healed, ..Self::default() };
        }
        self.missing_from = None;
        self.newest = look.messages.newest.as_ref().map_or(0, |newest| newest.sequence);
        let removed = look.first.saturating_sub(1);
        let before = self.proven;
        match look.reached() {
            Reached::Exactly(sequence) => (self.proven, self.assumed) = (sequence, removed),
            Reached::AtLeast(sequence) => {
                self.proven = self.proven.max(sequence);
                self.assumed = self.assumed.max(removed).max(if is_first { self.newest } else { 0 });
            }
        }
        if self.proven > before && !is_first {
            self.progresses(now);
        }
        self.owed = self.owes(now);
    }

    /// Notes that the stream of events does not exist.
    pub(super) fn see_no_origin(&mut self, now: Instant) {
        self.missing_from.get_or_insert(now);
    }

    /// Notes that the broker did not answer: a stall is seen only while it does.
    pub(super) fn see_nothing(&mut self, now: Instant) {
        self.quiet_from = Some(now);
        self.missing_from = self.missing_from.map(|_| now);
    }

    pub(super) fn heals(&mut self, now: Instant) {
        self.healed = Some(Healed { at: now, last_progress: None });
    }

    /// Returns how long it is until the next heal is allowed; `None` if it is now.
    pub(super) fn next_heal(&self, now: Instant) -> Option<Duration> {
        let wait = HEAL_EVERY.saturating_sub(now.saturating_duration_since(self.healed?.at));
        (!wait.is_zero()).then_some(wait)
    }

    /// Returns whether another heal can be of use: the last one was followed by progress, and not by the same again.
    pub(super) fn is_healing_of_use(&self) -> bool {
        self.healed.is_none_or(|healed| healed.last_progress.is_some() && !self.stops_again())
    }

    /// Returns the result; `None` if nothing was seen yet.
    pub(super) fn progress(&self, now: Instant) -> Option<Progress> {
        if self.origin.is_none() && self.missing_from.is_none() {
            return None;
        }
        let passed = |since: Instant| now.saturating_duration_since(since);
        let quiet =
            self.owed.map(|owed| passed(self.quiet_from.map_or(owed.since, |from| from.max(owed.since))));
        let is_missing = self.missing_from.is_some();
        Some(Progress {
            proven: self.proven,
            behind: if is_missing { 0 } else { self.newest.saturating_sub(self.passed()) },
            behind_for: self.owed.map(|owed| passed(owed.since)),
            stalled_for: self.missing_from.map(passed).or(quiet),
            is_origin_missing: is_missing,
            stops_again: self.owed.is_some() && self.stops_again(),
        })
    }

    fn progresses(&mut self, now: Instant) {
        self.quiet_from = Some(now);
        if let Some(healed) = &mut self.healed {
            healed.last_progress = Some(now);
        }
    }

    /// Returns up to where nothing is owed.
    fn passed(&self) -> u64 {
        self.proven.max(self.assumed)
    }

    fn owes(&self, now: Instant) -> Option<Owed> {
        let passed = self.passed();
        if self.newest <= passed {
            return None;
        }
        let owed = self.owed.filter(|owed| owed.sequence > passed);
        Some(match owed {
            // What was owed was removed from the origin.
            Some(owed) => Owed { sequence: owed.sequence.min(self.newest), ..owed },
            None => Owed { sequence: self.newest, since: now },
        })
    }

    fn stops_again(&self) -> bool {
        let last =
            self.healed.and_then(|healed| Some(healed.last_progress?.saturating_duration_since(healed.at)));
        last.is_some_and(|last| last < AGAIN_WITHIN)
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
