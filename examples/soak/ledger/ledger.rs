//! The ledger itself: from the journal, the streams and the store to a balance.

use crate::{Balance, Journal, audit, explained, found::Found, order};
use std::{path::PathBuf, sync::Arc};
use stratt_event_bridge::{ConsumerName, EventBridge, Feed, dedupe::DedupeStore};

/// A journal, and the seed of all random choices.
#[derive(Debug, Clone)]
pub struct Ledger {
    seed: u64,
    path: PathBuf,
    is_ordered: bool,
    explained: usize,
}

impl Ledger {
    /// Makes a ledger whose journal is the file at `path`.
    #[must_use]
    pub fn new(seed: u64, path: impl Into<PathBuf>) -> Self {
        Self { seed, path: path.into(), is_ordered: false, explained: 0 }
    }

    /// Demands that the durable kept [`Order::PerUnit`](stratt_event_bridge::Order::PerUnit).
    #[must_use]
    pub fn strictly_ordered(mut self) -> Self {
        self.is_ordered = true;
        self
    }

    /// Has this number of events explained in the end, and demands that the explanations are right.
    #[must_use]
    pub fn explaining(mut self, events: usize) -> Self {
        self.explained = events;
        self
    }

    /// Opens the journal for writing.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn journal(&self) -> Result<Journal, LedgerError> {
        Journal::open(&self.path).map_err(LedgerError::new)
    }

    /// Reads everything and strikes the balance, when all publishers and consumers have stopped.
    ///
    /// The store is asked about events that are not recorded as settled, by claims that are released again.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read, or broker or store do not answer. A violation is no error: see
    /// [`Balance::violations`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave one slot claimed for a second.
    pub async fn balance(
        &self,
        bridge: &EventBridge,
        feed: Feed,
        durable: &ConsumerName,
        store: &Arc<dyn DedupeStore>,
    ) -> Result<Balance, LedgerError> {
        let entries = Journal::read(&self.path).map_err(LedgerError::new)?;
        let found = Found::read(bridge, feed, durable, &**store, &entries).await?;
        let mut balance = audit::audit(self.seed, &entries, &found);
        if self.is_ordered {
            balance.violations.extend(order::out_of_order(&entries, &found.due));
        }
        let differences =
            explained::differences(bridge, feed, durable, store, &found, self.explained).await?;
        balance.violations.extend(differences);
        Ok(balance)
    }
}

/// A ledger that could not be written or balanced.
#[derive(Debug, thiserror::Error)]
#[error("ledger could not be written or balanced")]
pub struct LedgerError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl LedgerError {
    pub(crate) fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
