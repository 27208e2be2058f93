//! Redrives of groups that are under way: tasks of the console, not of the request that began them.

mod progress;
mod task;

pub(super) use progress::{Ending, Progress, Seen};
pub(super) use task::run;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most redrives that have ended whose progress is still shown.
const MOST_ENDED: usize = 50;

/// The redrives of this console, each by the id of its group.
#[derive(Debug)]
pub(super) struct Redrives {
    all: Mutex<BTreeMap<String, Arc<Progress>>>,
    stop: CancellationToken,
    /// They stop when the console is gone.
    _stops: DropGuard,
}

impl Default for Redrives {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self { all: Mutex::default(), _stops: stop.clone().drop_guard(), stop }
    }
}

impl Redrives {
    /// Returns the redrive of a group, whether it is under way or has ended.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Progress>> {
        self.locked().get(id).map(Arc::clone)
    }

    /// Returns all of them with the ids of their groups.
    pub(super) fn all(&self) -> Vec<(String, Arc<Progress>)> {
        self.locked().iter().map(|(id, progress)| (id.clone(), Arc::clone(progress))).collect()
    }

    /// Returns the progress of a redrive that is about to begin; `None` if one of this group is under way.
    pub(super) fn begin(&self, id: &str, who: &str, total: u64) -> Option<Arc<Progress>> {
        let mut all = self.locked();
        if all.get(id).is_some_and(|progress| progress.ending().is_none()) {
            return None;
        }
        if all.len() >= MOST_ENDED {
            all.retain(|_, progress| progress.ending().is_none());
        }
        let progress = Arc::new(Progress::new(who, total, self.stop.child_token()));
        all.insert(id.to_owned(), Arc::clone(&progress));
        Some(progress)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Progress>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
