//! Bounds how often a log line is repeated.
//!
//! A fault that hits one event often hits all of them, and each retry again: a log that repeats the same line a
//! thousand times hides its other lines.

use std::{
    collections::HashMap,
    mem::take,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The number of times that one line may be logged in a burst.
const BURST: u32 = 10;
/// The interval at which a line is logged beyond the burst.
const EVERY: Duration = Duration::from_secs(10);

/// Limits the rate of each log line of its owner, and reports how many were left out: with the next one that is logged,
/// and with a line of its own when there is no next one.
#[derive(Debug)]
pub(crate) struct LogLimit {
    /// The component that logs, named where lines were left out.
    owner: String,
    lines: Mutex<HashMap<&'static str, Line>>,
}

/// One line, by its text.
#[derive(Debug)]
struct Line {
    /// Each line that is logged moves it on by [`EVERY`]; it may be ahead of the present by as much as the burst.
    used_until: Instant,
    left_out: u64,
    last_left_out: Instant,
}

impl LogLimit {
    pub(crate) fn new(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), lines: Mutex::default() }
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns how many of this line were left out since the last one; `None` leaves out this one as well.
    pub(crate) fn admit(&self, line: &'static str) -> Option<u64> {
        self.admit_at(line, Instant::now())
    }

    fn admit_at(&self, text: &'static str, now: Instant) -> Option<u64> {
        let mut lines = self.lock();
        let line = lines.entry(text).or_insert(Line { used_until: now, left_out: 0, last_left_out: now });
        if line.used_until > now + EVERY * (BURST - 1) {
            line.left_out += 1;
            line.last_left_out = now;
            return None;
        }
        line.used_until = line.used_until.max(now) + EVERY;
        Some(take(&mut line.left_out))
    }

    /// Reports lines that were left out and that have not come again for a while.
    pub(crate) fn report(&self) {
        let now = Instant::now();
        self.report_those(|line| now.duration_since(line.last_left_out) >= EVERY);
    }

    /// Reports all lines that were left out, since no more are to come.
    pub(crate) fn report_all(&self) {
        self.report_those(|_| true);
    }

    fn report_those(&self, are_meant: impl Fn(&Line) -> bool) {
        let left_out: Vec<_> = self
            .lock()
            .iter_mut()
            .filter(|(_, line)| line.left_out > 0 && are_meant(line))
            .map(|(text, line)| (*text, take(&mut line.left_out)))
            .collect();
        for (line, left_out) in left_out {
            tracing::warn!(owner = self.owner, line, left_out, "repeated log lines were left out");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports what was left out when the owner ends.
impl Drop for LogLimit {
    fn drop(&mut self) {
        self.report_all();
    }
}

/// Logs a line within the limit: the limit, the level, the text, and then the fields as in the macros of `tracing`. The
/// field `left_out` is added when lines were left out before.
macro_rules! limited {
    ($limit:expr, $level:ident, $text:literal, $($fields:tt)+) => {
        if let Some(left_out) = $limit.admit($text) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::$level!($($fields)+, left_out, $text);
        }
    };
}
pub(crate) use limited;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_logged_and_then_one_now_and_then_with_a_count() {
        let (limit, begun) = (LogLimit::new("tests"), Instant::now());
        let admitted = |at: Duration| limit.admit_at("line", begun + at);
        for _ in 0..BURST {
            assert_eq!(admitted(Duration::ZERO), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(admitted(EVERY / 2), None);
        }
        assert_eq!(admitted(EVERY), Some(1000));
        assert_eq!(admitted(EVERY), None);
        // After a long silence there may be a burst again.
        for number in 0..BURST {
            assert_eq!(admitted(EVERY * 20), Some(u64::from(number == 0)));
        }
        assert_eq!(admitted(EVERY * 20), None);
    }

    #[test]
    fn each_line_has_a_limit_of_its_own() {
        let limit = LogLimit::new("tests");
        for _ in 0..=BURST {
            let _logged = limit.admit("often");
        }
        assert_eq!((limit.admit("often"), limit.admit("seldom")), (None, Some(0)));
    }
}
