//! What is under way to the broker.

use crate::{
    outbox::{
        relay::{
            group::{Group, Published, Took},
            pace::Pace,
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
    groups: FuturesUnordered<BoxFuture<'static, Group>>,
    rows: usize,
    batches: usize,
    pace: Pace,
}

impl Flight {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self { publisher, groups: FuturesUnordered::new(), rows: 0, batches: 0, pace: Pace::default() }
    }

    /// Whether rows had better wait: the next batch is the larger, the longer it does.
    pub(super) fn waits_for_batch(&self) -> bool {
        self.batches > 0 && self.pace.prefers_batches()
    }

    /// Publishes rows until then at the latest.
    pub(super) fn begin(&mut self, rows: Vec<(Row, EncodedEvent)>, until: Instant) {
        if !self.pace.is_worth_a_batch(rows.len()) {
            return self.begin_each(rows, until);
        }
        self.rows += rows.len();
        self.batches += 1;
        self.groups.push(Group::batch(self.publisher.clone(), rows, until).boxed());
    }

    /// Publishes rows until then at the latest, and none of them in a batch.
    pub(super) fn begin_each(&mut self, rows: Vec<(Row, EncodedEvent)>, until: Instant) {
        self.rows += rows.len();
        for row in rows {
            self.groups.push(Group::single(self.publisher.clone(), row, until, self.rows).boxed());
        }
    }

    /// Waits for the next rows that are published, or have failed; `None` when nothing is under way.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Vec<Published>> {
        let Group { published, took } = self.groups.next().await?;
        self.rows = self.rows.saturating_sub(published.len());
        match took {
            Took::Single { time, under_way } => self.pace.took(time, under_way),
            Took::Batch => self.batches = self.batches.saturating_sub(1),
            Took::NoBatch => {
                self.batches = self.batches.saturating_sub(1);
                self.pace.takes_no_batches();
            }
        }
        Some(published)
    }
}
