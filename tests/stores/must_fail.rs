//! The check that the conformance suite notices a store which is wrong on purpose.

use std::{fmt::Debug, future::Future, sync::Arc};
use stratt_event_bridge::{dedupe::DedupeStore, testing::conformance::Verdict};

/// A fault of a store.
pub(crate) trait Flaw: Copy + Debug {
    /// Returns a new store that has it.
    fn store(self) -> Arc<dyn DedupeStore>;
}

pub(crate) async fn must_fail<F: Future<Output = Verdict>>(
    behaviour: impl FnOnce(Arc<dyn DedupeStore>) -> F,
    flaw: impl Flaw,
) {
    assert!(behaviour(flaw.store()).await.is_err(), "the suite does not notice {flaw:?}");
}
