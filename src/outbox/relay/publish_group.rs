//! Rows that are published together: in one batch, or one by itself.

use crate::{
    outbox::row::Row,
    publish::{EncodedEvent, PublishError, PublishErrorKind, PublishReceipt, Publisher},
    report::report,
};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// What became of a row.
pub(super) type Published = (Row, Result<PublishReceipt, PublishError>);

/// What became of the rows of a group.
pub(super) struct Group {
    pub(super) published: Vec<Published>,
    pub(super) took: Took,
}

/// How a group was published.
pub(super) enum Took {
    /// One row by itself, with so many under way.
    Single {
        time: Duration,
        under_way: usize,
    },
    Batch,
    /// One by one, since the server or the stream takes no batches.
    NoBatch,
}

impl Group {
    pub(super) async fn single(
        publisher: Publisher,
        (row, fact): (Row, EncodedEvent),
        until: Instant,
        under_way: usize,
    ) -> Self {
        let begun = Instant::now();
        let published = publisher.publish_once(fact.into_outgoing(), until).await;
        Self { published: vec![(row, published)], took: Took::Single { time: begun.elapsed(), under_way } }
    }

    /// A batch that is refused says nothing about most of its rows: each is then published by itself.
    pub(super) async fn batch(publisher: Publisher, rows: Vec<(Row, EncodedEvent)>, until: Instant) -> Self {
        let facts: Vec<_> = rows.iter().map(|(_, fact)| fact.clone()).collect();
        // One row that nobody takes is repeated with all others until then, and they need the rest of the time.
        let now = Instant::now();
        let half = now + until.saturating_duration_since(now) / 2;
        match publisher.publish_batch_until(&facts, half).await {
            Ok(receipts) => {
                let rows = rows.into_iter().map(|(row, _)| row);
                Self { published: rows.zip(receipts.into_iter().map(Ok)).collect(), took: Took::Batch }
            }
            Err(error) => {
                tracing::debug!(events = rows.len(), error = %report(&error), "events of the outbox are published one by one");
                let is_unsupported = error.kind() == PublishErrorKind::Unsupported;
                let took = if is_unsupported { Took::NoBatch } else { Took::Batch };
                Self { published: one_by_one(&publisher, rows, until, &error).await, took }
            }
        }
    }
}

/// If there is no time left, the answer to the batch is that to each of its rows.
async fn one_by_one(
    publisher: &Publisher,
    rows: Vec<(Row, EncodedEvent)>,
    until: Instant,
    failed: &PublishError,
) -> Vec<Published> {
    let published = rows.into_iter().map(|(row, fact)| async move {
        let published = if Instant::now() < until {
            publisher.publish_once(fact.into_outgoing(), until).await
        } else {
            Err(PublishError::new(failed.kind()).with_outcome_unknown(failed.is_outcome_unknown()))
        };
        (row, published)
    });
    join_all(published).await
}
