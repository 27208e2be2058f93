//! Replays: events that a durable was delivered are published again, for its consumer alone.

mod options;

pub use options::ReplayOptions;

use crate::{
    contract::{
        consumer_name::ConsumerName,
        envelope::Envelope,
        epoch::Epoch,
        event::key::IdempotencyKey,
        subject::{Feed, redrive_subject},
    },
    dead_letter::{header, pace::ticks},
    durables::{DurableStatus, Durables, DurablesError, DurablesErrorKind, unavailable},
    nats::{
        api_context::ApiContext,
        batch_get::{Found, Messages},
        stored::Stored,
    },
    publish::{Outgoing, PublishReceipt, Publisher},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::{future::ready, time::Duration};

/// A replay that may begin, from [`Durables::replay`].
#[derive(Debug, Clone)]
pub struct Replay {
    context: ApiContext,
    publisher: Publisher,
    durable: DurableStatus,
    consumer: ConsumerName,
    epoch: Epoch,
    first: u64,
    last: u64,
    interval: Duration,
}

/// An event that was replayed.
#[derive(Debug, Clone)]
pub struct Replayed {
    sequence: u64,
    receipt: PublishReceipt,
}

/// An event that is to be replayed.
struct Replayable {
    key: IdempotencyKey,
    subject: String,
    found: Found,
}

impl Durables {
    /// Prepares a replay: the consumer handles again, once, what its durable was delivered since a time, although the
    /// dedupe store knows it. Nothing is published before [`Replay::publish`].
    ///
    /// The events go to this consumer and to no other, like a redrive, with the subject
    /// `stratt.redrive.{consumer}.{domain}.{event-type}` and the [epoch](Epoch) of the replay as the header
    /// `Strat-Replay-Epoch`. Left out are events that were not delivered yet, which come anyway, and those that are not
    /// valid. A handler sees [`Delivery::epoch`](crate::Delivery::epoch), and that time goes back: newer events of a
    /// unit may have been handled.
    ///
    /// A consumer of an older version of this crate ignores the epoch, and skips what it has handled.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn replay(
        &self,
        feed: Feed,
        name: &ConsumerName,
        options: ReplayOptions,
    ) -> Result<Replay, DurablesError> {
        let durable = self.get(feed, name).await?;
        let ReplayOptions { from, until, epoch, interval } = options;
        let filter = format!("{}>", feed.prefix());
        let end = durable.delivered().saturating_add(1);
        let since = async |time| {
            let found = Stored::first_since(&self.context, feed.stream(), &filter, end, time).await;
            found.map_err(|error| unavailable(feed, name, error))
        };
        let first = since(from).await?;
        let end = match until {
            Some(until) => since(until).await?,
            None => end,
        };
        Ok(Replay {
            context: self.context.clone(),
            publisher: self.publisher.clone(),
            durable,
            consumer: name.clone(),
            epoch: epoch.unwrap_or_else(Epoch::now),
            first,
            last: end.saturating_sub(1),
            interval,
        })
    }
}

impl Replay {
    /// Returns the epoch, by which the replay can be continued.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns how many events would be published. Reads them all.
    ///
    /// # Errors
    ///
    /// [`NotReceived`](DurablesErrorKind::NotReceived) if the durable would not receive one of them, and
    /// [`Unavailable`](DurablesErrorKind::Unavailable).
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn count(&self) -> Result<u64, DurablesError> {
        self.events().try_fold(0, |count, _| ready(Ok(count + 1))).await
    }

    /// Publishes the events in their order, and yields each. It ends with the first error: continue it in its
    /// [epoch](Self::epoch), and what was handled in it is skipped.
    ///
    /// # Cancel safety
    ///
    /// Nothing is published before the stream is polled; dropping it stops after the event under way.
    pub fn publish(self) -> impl Stream<Item = Result<Replayed, DurablesError>> + Send + Unpin {
        let run = (self.events(), ticks(self.interval), self);
        let published = stream::try_unfold(run, |(mut events, mut ticks, replay)| async move {
            let Some(event) = events.try_next().await? else { return Ok(None) };
            ticks.tick().await;
            let replayed = replay.publish_one(event).await?;
            Ok(Some((replayed, (events, ticks, replay))))
        });
        published.boxed()
    }

    async fn publish_one(&self, event: Replayable) -> Result<Replayed, DurablesError> {
        let Replayable { key, subject, found } = event;
        let sequence = found.sequence;
        let mut headers = header::of_event(&found.headers);
        header::set(&mut headers, Epoch::HEADER, &self.epoch.to_string());
        header::set(&mut headers, header::ORIGINAL, &sequence.to_string());
        let message_id = format!("{key}:replay:{}:{}", self.consumer, self.epoch);
        let message = Outgoing::new(subject, message_id, headers, found.payload);
        let receipt = self.publisher.publish(message).await.map_err(|error| {
            let message = format!("event {sequence} of {} could not be published again", self.durable.feed());
            DurablesError::new(DurablesErrorKind::Publish, message).caused_by(error)
        })?;
        Ok(Replayed { sequence, receipt })
    }

    fn events(&self) -> impl Stream<Item = Result<Replayable, DurablesError>> + Send + Unpin + use<> {
        let feed = self.durable.feed();
        let filter = format!("{}>", feed.prefix());
        let found = Messages::of(&self.context, feed.stream(), filter, self.first..=self.last);
        let consumer = self.consumer.clone();
        let unavailable = move |error| unavailable(feed, &consumer, error);
        let (durable, consumer) = (self.durable.clone(), self.consumer.clone());
        let events = found
            .map_err(unavailable)
            .try_filter_map(move |found| ready(replayable(&durable, &consumer, found)));
        events.boxed()
    }
}

impl Replayed {
    /// Returns the sequence of the event as it was delivered before.
    #[must_use]
    pub fn original_sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the receipt of its publish; a duplicate if it was replayed in this epoch a moment ago.
    #[must_use]
    pub fn receipt(&self) -> &PublishReceipt {
        &self.receipt
    }
}

/// Returns the event of a message, if the durable reads it and it is valid; fails if it would not reach the durable.
fn replayable(
    durable: &DurableStatus,
    consumer: &ConsumerName,
    found: Found,
) -> Result<Option<Replayable>, DurablesError> {
    if !durable.reads(&found.subject) {
        return Ok(None);
    }
    let Ok(envelope) = <Envelope>::decode(&found.subject, &found.payload) else { return Ok(None) };
    let (feed, domain, event_type) = (durable.feed(), envelope.domain(), envelope.event_type());
    let delivered_on = feed.redrive_filter(consumer, Some(domain), event_type);
    if !durable.reads(&delivered_on) {
        let message = format!(
            "durable {consumer} of {feed} does not filter {delivered_on}: start it with this version of the crate, or add \
             the filter"
        );
        return Err(DurablesError::new(DurablesErrorKind::NotReceived, message));
    }
    let subject = redrive_subject(consumer, domain, event_type);
    Ok(Some(Replayable { key: envelope.idempotency_key(), subject, found }))
}
