//! The question for the way of an event.

use crate::{
    contract::{
        consumer_name::ConsumerName,
        event::key::IdempotencyKey,
        subject::{Address, Feed},
    },
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetters},
    dedupe::{DedupeStore, Slot},
    durables::{DurableStatus, Durables, DurablesErrorKind},
    explain::{ExplainError, Explanation, Place, SeenSlot, Way, search::Search},
    link::Link,
    report::report,
};
use futures::TryStreamExt;
use std::{collections::HashMap, sync::Arc};
use time::OffsetDateTime;

/// A question for the way of one event, from [`EventBridge::explain`](crate::EventBridge::explain).
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until `ask`"]
pub struct ExplainBuilder {
    link: Arc<Link>,
    key: IdempotencyKey,
    since: Option<OffsetDateTime>,
    store: Option<Arc<dyn DedupeStore>>,
    stores: HashMap<ConsumerName, Arc<dyn DedupeStore>>,
}

impl ExplainBuilder {
    pub(crate) fn new(link: &Arc<Link>, key: IdempotencyKey) -> Self {
        Self { link: Arc::clone(link), key, since: None, store: None, stores: HashMap::new() }
    }

    /// Searches only what was stored since this time. Otherwise all events of both streams are read, a thousand with
    /// each request.
    pub fn since(mut self, time: OffsetDateTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Asks this store for the slots of the event, unless a consumer has [one of its own](Self::store_of).
    pub fn store(mut self, store: Arc<dyn DedupeStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Asks this store for the slot of one consumer.
    pub fn store_of(mut self, consumer: ConsumerName, store: Arc<dyn DedupeStore>) -> Self {
        self.stores.insert(consumer, store);
        self
    }

    /// Finds out what became of the event.
    ///
    /// The user needs what an [`OperatorRole`](crate::acl::OperatorRole) may do. A store that fails is no error:
    /// the reason stands beside the durable.
    ///
    /// # Errors
    ///
    /// An [`ExplainError`] when the broker does not answer or refuses.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn ask(self) -> Result<Explanation, ExplainError> {
        let id = self.key.to_string();
        let stored = self.places(Feed::Strat, |found| found == id).await?;
        let forwarded = self.places(Feed::Choco, |found| found == id).await?;
        let again = [format!("{id}:redrive:"), format!("{id}:replay:")];
        let filter = format!("{}>", Feed::Strat.redrive_prefix());
        let redrives = self
            .search(Feed::Strat)
            .places(&filter, |id| again.iter().any(|start| id.starts_with(start)))
            .await?;
        let mut ways = self.ways(Feed::Strat, &stored).await?;
        ways.extend(self.ways(Feed::Choco, &forwarded).await?);
        let subject = stored.iter().chain(&forwarded).map(|place| &*place.subject).next();
        let dead_letters = self.dead_letters(subject, &[&*stored, &*forwarded].concat()).await?;
        Ok(Explanation { key: self.key, stored, forwarded, ways, dead_letters, redrives })
    }

    fn search(&self, feed: Feed) -> Search<'_> {
        Search { context: &self.link.context, feed, since: self.since }
    }

    async fn places(&self, feed: Feed, accepts: impl Fn(&str) -> bool) -> Result<Vec<Place>, ExplainError> {
        self.search(feed).places(&format!("{}>", feed.prefix()), accepts).await
    }

    /// Returns how far each durable of the feed is that reads the event, for each place in its stream.
    async fn ways(&self, feed: Feed, places: &[Place]) -> Result<Vec<Way>, ExplainError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let durables = match Durables::new(&self.link).list(feed).await {
            Err(error) if error.kind() == DurablesErrorKind::StreamNotFound => Vec::new(),
            listed => listed.map_err(|error| ExplainError::new("durables", error))?,
        };
        let mut ways = Vec::new();
        for place in places {
            for durable in durables.iter().filter(|durable| durable.reads(&place.subject)) {
                ways.push(self.way(durable, place.sequence).await);
            }
        }
        Ok(ways)
    }

    async fn way(&self, durable: &DurableStatus, sequence: u64) -> Way {
        Way {
            feed: durable.feed(),
            durable: durable.name().to_owned(),
            sequence,
            delivery: durable.delivery_of(sequence),
            slot: self.slot(durable.name()).await,
        }
    }

    async fn slot(&self, durable: &str) -> SeenSlot {
        let Ok(consumer) = durable.parse::<ConsumerName>() else { return SeenSlot::NotAsked };
        let Some(store) = self.stores.get(&consumer).or(self.store.as_ref()) else {
            return SeenSlot::NotAsked;
        };
        match store.peek(&Slot::new(consumer, self.key)).await {
            Ok(state) => SeenSlot::Seen(state),
            Err(error) => SeenSlot::Failed(report(&error).to_string()),
        }
    }

    /// Returns the dead letters of the event: by its key, or by its place if they are without the event.
    async fn dead_letters(
        &self,
        subject: Option<&str>,
        places: &[Place],
    ) -> Result<Vec<DeadLetter>, ExplainError> {
        let failed = |error| ExplainError::new("dead letters", error);
        let found = DeadLetters::new(&self.link).list(filter(subject)).await.map_err(failed)?;
        let is_at = |letter: &DeadLetter, place: &Place| {
            letter.stream() == place.feed.stream() && letter.stream_sequence() == place.sequence
        };
        let is_meant = |letter: &DeadLetter| match letter.envelope() {
            Ok(envelope) => envelope.idempotency_key() == self.key,
            Err(_) => places.iter().any(|place| is_at(letter, place)),
        };
        found.try_filter(|letter| std::future::ready(is_meant(letter))).try_collect().await.map_err(failed)
    }
}

/// Returns the filter of dead letters by the subject of the event, if it is known.
fn filter(subject: Option<&str>) -> DeadLetterFilter {
    let filter = DeadLetterFilter::default();
    let Some(Address { domain, event_type, .. }) = subject.and_then(Address::parse) else { return filter };
    match (domain.parse(), event_type.parse()) {
        (Ok(domain), Ok(event_type)) => filter.with_domain(domain).with_event_type(event_type),
        _ => filter,
    }
}
