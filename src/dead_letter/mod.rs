//! Dead letters: events that a consumer could not handle, kept until an operator decides.

mod error;
mod error_pattern;
mod filter;
mod group;
pub(crate) mod header;
mod letter;
mod meter;
pub(crate) mod pace;
mod parking;
mod reason;
mod record;
mod redrive;
mod sweep;
mod unit_letters;

pub use error::{DeadLetterError, DeadLetterErrorKind};
pub use filter::DeadLetterFilter;
pub use group::DeadLetterGroup;
pub use letter::DeadLetter;
pub(crate) use meter::counter_of;
pub(crate) use parking::{Parking, PlaceInUnit};
pub use reason::DeadLetterReason;
pub(crate) use record::{DeadLetterRecord, Headers};
pub use redrive::{GroupRedriveOptions, RedriveOptions};
pub use sweep::{SweepError, SweepErrorKind, SweepSummary, Sweeper};

use crate::{
    link::Link,
    nats::{api::ApiSubject, api_context::ApiContext, batch_get::Messages, stored::Stored},
    publish::Publisher,
    topology::{DEAD_LETTER_STREAM, StreamInfo},
};
use async_nats::jetstream::response::Response;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::de::IgnoredAny;
use serde_json::json;
use std::time::Duration;

/// The time for a read: far longer than one takes. Without a connection watch, a permission violation looks like a
/// time-out.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// The prefix of a termination's reason when the dead letter of the event is stored already.
pub(crate) const DEAD_LETTERED_PREFIX: &str = "dead-lettered: ";

/// The dead letters of a broker, to list, show, redrive and discard.
///
/// ```no_run
/// use futures::TryStreamExt;
/// use stratt_event_bridge::{EventBridge, dead_letter::{DeadLetterFilter, DeadLetterReason}};
///
/// # async fn example(bridge: EventBridge) -> Result<(), Box<dyn std::error::Error>> {
/// let dead_letters = bridge.dead_letters();
/// let filter = DeadLetterFilter::default()
///     .with_consumer("choco-unit-deprecated".parse()?)
///     .with_reason(DeadLetterReason::Exhausted);
/// let mut found = dead_letters.list(filter).await?;
/// while let Some(letter) = found.try_next().await? {
///     println!("{} {}: {}", letter.sequence(), letter.subject(), letter.error());
///     dead_letters.redrive(letter.sequence()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    context: ApiContext,
    publisher: Publisher,
    redrive_options: RedriveOptions,
}

impl DeadLetters {
    pub(crate) fn new(link: &Link) -> Self {
        let (context, publisher) = (link.context.clone(), link.publisher.clone());
        Self { context, publisher, redrive_options: RedriveOptions::default() }
    }

    /// Returns the dead letters that match, oldest first, of those that were stored when this was called.
    ///
    /// # Errors
    ///
    /// When the broker does not answer; the stream yields an error for the same reason and then ends.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future or the stream has no effect.
    pub async fn list(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<impl Stream<Item = Result<DeadLetter, DeadLetterError>> + Send + Unpin + use<>, DeadLetterError>
    {
        // Dead letters stored from now on are not part of the list: a redrive of an event that fails again would
        // never end.
        let last = self.last_sequence().await?;
        let letters = Messages::of(&self.context, DEAD_LETTER_STREAM, filter.subject(), 1..=last);
        let letters = letters.map_ok(DeadLetter::new).map_err(|error| unavailable(None, error));
        Ok(letters.try_filter(move |letter| std::future::ready(filter.accepts(letter))).boxed())
    }

    /// Returns one dead letter.
    ///
    /// # Errors
    ///
    /// [`NotFound`](DeadLetterErrorKind::NotFound), or [`Unavailable`](DeadLetterErrorKind::Unavailable) when the
    /// broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn get(&self, sequence: u64) -> Result<DeadLetter, DeadLetterError> {
        let found = self.find(sequence).await?;
        found.ok_or_else(|| DeadLetterError::new(DeadLetterErrorKind::NotFound, Some(sequence)))
    }

    /// Returns one dead letter, as the leader has it; `None` if it is gone.
    async fn find(&self, sequence: u64) -> Result<Option<DeadLetter>, DeadLetterError> {
        let stored = Stored::at(&self.context, DEAD_LETTER_STREAM, sequence).await;
        let stored = stored.map_err(|error| unavailable(Some(sequence), error))?;
        Ok(stored.map(|found| DeadLetter::new(found.into())))
    }

    /// Removes one dead letter for good, and erases it from the disk, without publishing it again.
    ///
    /// If events are [parked](crate::ConsumerOptions::with_parking) behind it, the first of them is redriven.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and as for [`redrive`](Self::redrive) where events are parked behind it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether it was removed; discarding it again then answers
    /// [`NotFound`](DeadLetterErrorKind::NotFound). What is parked behind it may then wait until the next event of the
    /// unit, or until it is redriven.
    pub async fn discard(&self, sequence: u64) -> Result<(), DeadLetterError> {
        let letter = self.get(sequence).await?;
        let next = self.parked_behind(&letter).await?;
        self.remove(sequence, true).await?;
        if let Some(next) = next {
            self.release(&next, Some(sequence)).await?;
        }
        Ok(())
    }

    /// Removes one dead letter. Erasing what was stored as well rewrites the file that it was stored in, which takes
    /// some 40 ms.
    async fn remove(&self, sequence: u64, erases: bool) -> Result<(), DeadLetterError> {
        let request = ApiSubject::message_delete(DEAD_LETTER_STREAM).request();
        let answer = self.context.request(request, &json!({ "seq": sequence, "no_erase": !erases })).await;
        match answer.map_err(|error| unavailable(Some(sequence), error))? {
            Response::Ok(IgnoredAny) => Ok(()),
            Response::Err { error } => {
                // The server has one code for all failures, so look whether there is such a message.
                self.get(sequence).await?;
                Err(unavailable(Some(sequence), error))
            }
        }
    }

    /// Returns the sequence of the newest dead letter.
    async fn last_sequence(&self) -> Result<u64, DeadLetterError> {
        let last = StreamInfo::last_sequence(&self.context, DEAD_LETTER_STREAM).await;
        last.map_err(|error| unavailable(None, error))
    }
}

fn unavailable(
    sequence: Option<u64>,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DeadLetterError {
    DeadLetterError::new(DeadLetterErrorKind::Unavailable, sequence).caused_by(error)
}
