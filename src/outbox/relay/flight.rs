//! Rows that are in flight to the broker.

use crate::{
    outbox::{
        relay::{
            batch_policy::BatchPolicy,
            publish_group::{Mode, PublishGroup, Published},
        },
        row::Row,
    },
    publish::{EncodedEvent, Publisher},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;

/// Rows that are being published.
#[derive(Debug)]
pub(super) struct Flight {
    publisher: Publisher,
    groups: FuturesUnordered<BoxFuture<'static, PublishGroup>>,
    rows: usize,
    batches: usize,
    policy: BatchPolicy,
}

impl Flight {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            groups: FuturesUnordered::new(),
            rows: 0,
            batches: 0,
            policy: BatchPolicy::default(),
        }
    }

    /// Returns whether rows should wait for the batch in flight, so that the next one is larger.
    pub(super) fn waits_for_batch(&self) -> bool {
        self.batches > 0 && self.policy.prefers_batches()
    }

    /// Begins publishing rows, with the deadline `until`.
    pub(super) fn begin(&mut self, rows: Vec<(Row, EncodedEvent)>, until: Instant) {
        if !self.policy.is_worth_a_batch(rows.len()) {
            return self.begin_each(rows, until);
        }
        self.rows += rows.len();
        self.batches += 1;
        self.groups.push(PublishGroup::batch(self.publisher.clone(), rows, until).boxed());
    }

    /// Begins publishing rows one by one, with the deadline `until`.
    pub(super) fn begin_each(&mut self, rows: Vec<(Row, EncodedEvent)>, until: Instant) {
        self.rows += rows.len();
        for row in rows {
            self.groups.push(PublishGroup::single(self.publisher.clone(), row, until, self.rows).boxed());
        }
    }

    /// Waits for the next results; returns `None` when nothing is in flight.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Vec<Published>> {
        let PublishGroup { published, mode } = self.groups.next().await?;
        self.rows = self.rows.saturating_sub(published.len());
        match mode {
            Mode::Single { time, in_flight } => self.policy.measured(time, in_flight),
            Mode::Batch => self.batches = self.batches.saturating_sub(1),
            Mode::Unbatched => {
                self.batches = self.batches.saturating_sub(1);
                self.policy.disable();
            }
        }
        Some(published)
    }
}
