//! Events that are dead-lettered again after they were redriven.

use crate::{
    contract::subject::Feed,
    dead_letter::{DeadLetter, DeadLetterError, DeadLetterFilter, DeadLetters, unavailable},
    nats::{api_context::ApiContext, batch_get::Messages},
    topology::DEAD_LETTER_STREAM,
};
use futures::TryStreamExt;
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// The time for which a count is taken for the present one.
const FRESH: Duration = Duration::from_millis(250);

/// The dead letters that are stored from now on, of events that had been redriven.
#[derive(Debug)]
pub(super) struct Failures {
    context: ApiContext,
    filter: String,
    next: u64,
    read_at: Instant,
    /// Stream and sequence of each event.
    events: HashSet<(String, u64)>,
}

impl Failures {
    pub(super) async fn from_now(
        letters: &DeadLetters,
        filter: DeadLetterFilter,
    ) -> Result<Self, DeadLetterError> {
        let next = letters.last_sequence().await?.saturating_add(1);
        let context = letters.context.clone();
        Ok(Self { context, filter: filter.subject(), next, read_at: Instant::now(), events: HashSet::new() })
    }

    /// Reads what was stored since it was last read.
    pub(super) async fn read(&mut self) -> Result<(), DeadLetterError> {
        let read_at = Instant::now();
        let mut letters =
            Messages::of(&self.context, DEAD_LETTER_STREAM, self.filter.clone(), self.next..=u64::MAX);
        while let Some(found) = letters.try_next().await.map_err(|error| unavailable(None, error))? {
            self.next = found.sequence.saturating_add(1);
            let letter = DeadLetter::new(found);
            if letter.is_redriven() {
                self.events.insert((letter.stream().to_owned(), letter.stream_sequence()));
            }
        }
        self.read_at = read_at;
        Ok(())
    }

    pub(super) fn contain(&self, feed: Feed, sequence: u64) -> bool {
        self.events.contains(&(feed.stream().to_owned(), sequence))
    }

    /// Returns how many there are, as far as is known or was read a moment ago.
    pub(super) async fn count_lately(&mut self) -> Result<u64, DeadLetterError> {
        if self.read_at.elapsed() > FRESH {
            self.read().await?;
        }
        Ok(u64::try_from(self.events.len()).unwrap_or(u64::MAX))
    }
}
