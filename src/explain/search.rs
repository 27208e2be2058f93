//! Finding the messages of one event.

use crate::{
    contract::subject::Feed,
    explain::{ExplainError, Place},
    nats::{api_context::ApiContext, batch_get::Messages, stored::Stored},
};
use async_nats::jetstream::{self, ErrorCode};
use futures::TryStreamExt;
use std::error::Error;
use time::OffsetDateTime;

/// A search in the stream of a feed, up to the end that it has when it is asked.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) context: &'a ApiContext,
    pub(super) feed: Feed,
    /// Events that were stored before are left out.
    pub(super) since: Option<OffsetDateTime>,
}

const EVENTS: &str = "events";

impl Search<'_> {
    /// Returns the places of the messages on the subjects of `filter` whose id is accepted.
    pub(super) async fn places(
        &self,
        filter: &str,
        accepts: impl Fn(&str) -> bool,
    ) -> Result<Vec<Place>, ExplainError> {
        let (stream, failed) = (self.feed.stream(), |error| ExplainError::new(EVENTS, error));
        let last = match Stored::last(self.context, stream, filter).await {
            // Choco may have its stream in another account.
            Err(error) if is_missing(&*error) => None,
            found => found.map_err(failed)?,
        };
        let Some(last) = last else { return Ok(Vec::new()) };
        let first = match self.since {
            Some(since) => {
                let end = last.sequence.saturating_add(1);
                Stored::first_since(self.context, stream, filter, end, since).await.map_err(failed)?
            }
            None => 1,
        };
        let mut messages = Messages::of(self.context, stream, filter.to_owned(), first..=last.sequence);
        let mut places = Vec::new();
        while let Some(message) = messages.try_next().await.map_err(failed)? {
            if !message.headers.get("Nats-Msg-Id").is_some_and(|id| accepts(id.as_str())) {
                continue;
            }
            // The answers for many messages are without their times.
            let found = Stored::at(self.context, stream, message.sequence).await.map_err(failed)?;
            places.extend(found.map(|Stored { sequence, subject, time: stored_at, .. }| Place {
                feed: self.feed,
                sequence,
                subject,
                stored_at,
            }));
        }
        Ok(places)
    }
}

/// Returns whether there is no such stream.
fn is_missing(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let answer = error.downcast_ref::<jetstream::Error>();
    answer.is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
