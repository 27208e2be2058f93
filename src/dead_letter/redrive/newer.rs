//! Events of a unit that were stored after one of it was dead-lettered.

use crate::{
    contract::{
        envelope::Envelope,
        event::{Event, EventType},
        subject::{Feed, dead_letter_filter},
    },
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, redrive::recipient::Recipient, unavailable,
    },
    nats::{api_context::ApiContext, batch_get::Messages},
    topology::{DEAD_LETTER_STREAM, StreamInfo},
};
use futures::TryStreamExt;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};
use tokio::time::Instant;

/// The time for which what was read is taken for all there is. An event that is published at the same time as the
/// redrive may be stored before it in any case.
const FRESH: Duration = Duration::from_millis(100);
/// The most events that an error names.
const NAMED: usize = 3;

/// The events that are newer than those of some dead letters, of the same units.
#[derive(Debug)]
pub(super) struct Newer {
    context: ApiContext,
    units: HashSet<String>,
    /// By feed and domain.
    feeds: HashMap<(Feed, String), Events>,
    /// The dead-lettered events of each consumer in a feed and a domain, by their sequences in the feed.
    dead_lettered: HashMap<(String, Feed, String), HashSet<u64>>,
}

/// The events of a feed in one domain, as far as they are of the units that matter.
#[derive(Debug)]
struct Events {
    /// The sequence from which they are read on.
    next: u64,
    read_at: Option<Instant>,
    by_unit: HashMap<String, BTreeMap<u64, EventType>>,
}

impl Newer {
    /// Returns the events of these units, to be read when they are asked for.
    pub(super) fn of(context: ApiContext, units: impl IntoIterator<Item = String>) -> Self {
        let units = units.into_iter().collect();
        Self { context, units, feeds: HashMap::new(), dead_lettered: HashMap::new() }
    }

    /// Fails where events of the unit of `letter` are newer than its own, unless the consumer could not handle them
    /// either: they are still among its dead letters. The letters of one consumer in one feed are to be checked in the
    /// order of their events.
    pub(super) async fn check(
        &mut self,
        letter: &DeadLetter,
        recipient: &Recipient,
        unit: &str,
    ) -> Result<(), DeadLetterError> {
        if self.units.insert(unit.to_owned()) {
            // Not one of those that were known before, so that what was read is without its events.
            self.feeds.clear();
        }
        let sequence = letter.original_sequence();
        let place = (recipient.feed, recipient.domain.to_string());
        let unread = Events { next: sequence.saturating_add(1), read_at: None, by_unit: HashMap::new() };
        let events = self.feeds.entry(place.clone()).or_insert(unread);
        let unavailable = |error| unavailable(Some(letter.sequence()), error);
        if events.read_at.is_none_or(|read_at| read_at.elapsed() > FRESH) {
            events.read(&self.context, recipient, &self.units).await.map_err(unavailable)?;
        }
        let newer =
            events.by_unit.get(unit).into_iter().flat_map(|all| all.range(sequence.saturating_add(1)..));
        let mut newer: Vec<_> = newer.map(|(sequence, event_type)| (*sequence, *event_type)).collect();
        let consumer = (letter.consumer().to_owned(), place.0, place.1);
        if !newer.is_empty() {
            if !self.dead_lettered.contains_key(&consumer) {
                let read = dead_lettered(&self.context, recipient, letter.consumer()).await;
                self.dead_lettered.insert(consumer.clone(), read.map_err(unavailable)?);
            }
            let dead_lettered = self.dead_lettered.get(&consumer);
            newer.retain(|(sequence, _)| dead_lettered.is_none_or(|all| !all.contains(sequence)));
        }
        if newer.is_empty() {
            // It is about to be redriven, and is then newer than what came before it.
            if let Some(dead_lettered) = self.dead_lettered.get_mut(&consumer) {
                dead_lettered.remove(&sequence);
            }
            return Ok(());
        }
        let error = DeadLetterError::new(DeadLetterErrorKind::Superseded, Some(letter.sequence()));
        Err(error.caused_by(described(unit, &newer)))
    }
}

impl Events {
    /// Reads what was stored since they were last read.
    async fn read(
        &mut self,
        context: &ApiContext,
        recipient: &Recipient,
        units: &HashSet<String>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (stream, read_at) = (recipient.feed.stream(), Instant::now());
        // Where it ends is known before: the server would look for the next one among all that is redriven meanwhile.
        let last = StreamInfo::last_sequence(context, stream).await?;
        let filter = format!("{}{}.>", recipient.feed.prefix(), recipient.domain);
        let mut messages = Messages::of(context, stream, filter, self.next..=last);
        while let Some(message) = messages.try_next().await? {
            // What is not valid is of no unit.
            let Ok(envelope) = <Envelope>::decode(&message.subject, &message.payload) else { continue };
            let unit = envelope.event().unit_uri().as_str();
            if units.contains(unit) {
                let events = self.by_unit.entry(unit.to_owned()).or_default();
                events.insert(message.sequence, envelope.event_type());
            }
        }
        self.next = self.next.max(last.saturating_add(1));
        self.read_at = Some(read_at);
        Ok(())
    }
}

/// Returns the events in the feed and domain of `recipient` that are among the dead letters of a consumer.
async fn dead_lettered(
    context: &ApiContext,
    recipient: &Recipient,
    consumer: &str,
) -> Result<HashSet<u64>, Box<dyn std::error::Error + Send + Sync>> {
    let filter = dead_letter_filter(consumer, &recipient.domain, ">");
    let letters = Messages::of(context, DEAD_LETTER_STREAM, filter, 1..=u64::MAX);
    let of_feed = |letter: &DeadLetter| letter.stream() == recipient.feed.stream();
    let sequences = letters.map_ok(DeadLetter::new).try_filter_map(|letter| {
        let sequence = of_feed(&letter).then(|| letter.original_sequence());
        async move { Ok(sequence) }
    });
    sequences.try_collect().await
}

fn described(unit: &str, newer: &[(u64, EventType)]) -> String {
    let named: Vec<_> = newer
        .iter()
        .take(NAMED)
        .map(|(sequence, event_type)| format!("{event_type} at {sequence}"))
        .collect();
    let more = newer.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "{unit} has {}{more}: the redrive would take it back in time; it can be told to",
        named.join(", ")
    )
}
