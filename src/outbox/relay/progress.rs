//! The progress of a running relay.

use crate::outbox::relay::RelaySummary;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// A handle to the counts of a relay, for metrics. Clones share the relay; after its end they return the totals.
///
/// The number of events that are committed and not yet published is in the
/// [`OutboxStatus`](crate::outbox::OutboxStatus).
#[derive(Debug, Clone, Default)]
pub struct RelayProgress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    published: AtomicU64,
    duplicates: AtomicU64,
    quarantined: AtomicU64,
    backlog: AtomicUsize,
}

impl RelayProgress {
    /// Returns the counts since the start of the relay. They only grow.
    #[must_use]
    pub fn summary(&self) -> RelaySummary {
        let Counts { published, duplicates, quarantined, .. } = &*self.0;
        RelaySummary {
            published: published.load(Relaxed),
            duplicates: duplicates.load(Relaxed),
            quarantined: quarantined.load(Relaxed),
        }
    }

    /// Returns how many events the relay has read from the table and not yet marked there. Zero while another relay
    /// leads.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.0.backlog.load(Relaxed)
    }

    pub(super) fn published(&self, is_duplicate: bool) {
        self.0.published.fetch_add(1, Relaxed);
        self.0.duplicates.fetch_add(u64::from(is_duplicate), Relaxed);
    }

    pub(super) fn quarantined(&self) {
        self.0.quarantined.fetch_add(1, Relaxed);
    }

    pub(super) fn holds(&self, backlog: usize) {
        self.0.backlog.store(backlog, Relaxed);
    }
}
