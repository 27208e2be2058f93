//! What a relay has done so far, told while it runs.

use crate::outbox::relay::RelaySummary;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// What a relay has done so far, for metrics; a clone tells of the same relay, and after its end of what it did in all.
///
/// What is committed and not published yet, by this relay or another, is told by the outbox's status.
#[derive(Debug, Clone, Default)]
pub struct RelayProgress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    published: AtomicU64,
    duplicates: AtomicU64,
    set_aside: AtomicU64,
    backlog: AtomicUsize,
}

impl RelayProgress {
    /// What it did since its start. The counts only grow.
    #[must_use]
    pub fn summary(&self) -> RelaySummary {
        let Counts { published, duplicates, set_aside, .. } = &*self.0;
        RelaySummary {
            published: published.load(Relaxed),
            duplicates: duplicates.load(Relaxed),
            set_aside: set_aside.load(Relaxed),
        }
    }

    /// How many events it holds: read from the table, and not marked there yet. Zero while another relay leads.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.0.backlog.load(Relaxed)
    }

    pub(super) fn published(&self, is_duplicate: bool) {
        self.0.published.fetch_add(1, Relaxed);
        self.0.duplicates.fetch_add(u64::from(is_duplicate), Relaxed);
    }

    pub(super) fn set_aside(&self) {
        self.0.set_aside.fetch_add(1, Relaxed);
    }

    pub(super) fn holds(&self, backlog: usize) {
        self.0.backlog.store(backlog, Relaxed);
    }
}
