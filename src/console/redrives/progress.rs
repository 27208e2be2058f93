//! The progress of the redrive of a group.

use crate::contract::envelope::timestamp;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// The progress of a redrive.
#[derive(Debug)]
pub(in crate::console) struct Progress {
    seen: Mutex<Seen>,
    pub(super) stop: CancellationToken,
}

/// The progress at one time.
#[derive(Debug, Clone, Serialize)]
pub(in crate::console) struct Seen {
    pub(in crate::console) who: String,
    pub(in crate::console) begun: String,
    /// The dead letters of the group when it began.
    pub(in crate::console) total: u64,
    pub(in crate::console) redriven: u64,
    /// Those that were refused one by one, which are left.
    pub(in crate::console) refused: u64,
    /// The reason of the last of them.
    pub(in crate::console) last_refusal: Option<String>,
    #[serde(flatten)]
    pub(in crate::console) ending: Option<Ending>,
}

/// The end of a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ended", content = "why", rename_all = "snake_case")]
pub(in crate::console) enum Ending {
    Done,
    Stopped,
    Failed(String),
}

impl Progress {
    pub(super) fn new(who: &str, total: u64, stop: CancellationToken) -> Self {
        let (who, begun) = (who.to_owned(), timestamp::format(OffsetDateTime::now_utc()));
        let seen = Seen { who, begun, total, redriven: 0, refused: 0, last_refusal: None, ending: None };
        Self { seen: Mutex::new(seen), stop }
    }

    pub(in crate::console) fn seen(&self) -> Seen {
        self.locked().clone()
    }

    pub(in crate::console) fn ending(&self) -> Option<Ending> {
        self.locked().ending.clone()
    }

    /// Stops it after the dead letter that is under way.
    pub(in crate::console) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn redriven(&self) {
        self.locked().redriven += 1;
    }

    pub(super) fn refused(&self, why: String) {
        let mut seen = self.locked();
        seen.refused += 1;
        seen.last_refusal = Some(why);
    }

    pub(in crate::console) fn end(&self, ending: Ending) {
        self.locked().ending = Some(ending);
    }

    fn locked(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
