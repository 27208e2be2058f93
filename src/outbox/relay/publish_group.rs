//! Rows that are published together: in one batch, or a single one.

use crate::{
    outbox::row::Row,
    publish::{EncodedEvent, PublishError, PublishErrorKind, PublishReceipt, Publisher},
    report::report,
};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// A row with its result.
pub(super) type Published = (Row, Result<PublishReceipt, PublishError>);

/// The results of rows that were published together.
pub(super) struct PublishGroup {
    pub(super) published: Vec<Published>,
    pub(super) mode: Mode,
}

/// The way in which a group was published.
pub(super) enum Mode {
    /// A single row took `time`, with so many rows in flight.
    Single { time: Duration, in_flight: usize },
    /// In a batch, or one by one after the batch failed.
    Batch,
    /// One by one, since batches are not enabled on the server or stream.
    Unbatched,
}

impl PublishGroup {
    /// Publishes one row.
    pub(super) async fn single(
        publisher: Publisher,
        (row, event): (Row, EncodedEvent),
        until: Instant,
        in_flight: usize,
    ) -> Self {
        let begun = Instant::now();
        let published = publisher.publish_once(event.into_outgoing(), until).await;
        Self { published: vec![(row, published)], mode: Mode::Single { time: begun.elapsed(), in_flight } }
    }

    /// Publishes rows in one batch. If the batch is rejected, which says little about most of its rows, publishes each
    /// by itself.
    pub(super) async fn batch(publisher: Publisher, rows: Vec<(Row, EncodedEvent)>, until: Instant) -> Self {
        let events: Vec<_> = rows.iter().map(|(_, event)| event.clone()).collect();
        // A row that fails is retried with all others until half of the time; the rest is needed to publish them one by
        // one.
        let now = Instant::now();
        let half = now + until.saturating_duration_since(now) / 2;
        match publisher.publish_batch_until(&events, half).await {
            Ok(receipts) => {
                let rows = rows.into_iter().map(|(row, _)| row);
                Self { published: rows.zip(receipts.into_iter().map(Ok)).collect(), mode: Mode::Batch }
            }
            Err(error) => {
                tracing::debug!(events = rows.len(), error = %report(&error), "batch of outbox events failed; publishing them one by one");
                let is_unsupported = error.kind() == PublishErrorKind::Unsupported;
                let mode = if is_unsupported { Mode::Unbatched } else { Mode::Batch };
                Self { published: one_by_one(&publisher, rows, until, &error).await, mode }
            }
        }
    }
}

/// Publishes each row by itself. Without time left, each row gets the error of the batch.
async fn one_by_one(
    publisher: &Publisher,
    rows: Vec<(Row, EncodedEvent)>,
    until: Instant,
    failed: &PublishError,
) -> Vec<Published> {
    let published = rows.into_iter().map(|(row, event)| async move {
        let published = if Instant::now() < until {
            publisher.publish_once(event.into_outgoing(), until).await
        } else {
            Err(PublishError::new(failed.kind()).with_outcome_unknown(failed.is_outcome_unknown()))
        };
        (row, published)
    });
    join_all(published).await
}
