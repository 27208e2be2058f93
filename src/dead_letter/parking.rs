//! Parking: what follows a dead letter of its unit waits behind it, among the dead letters.
//!
//! The *head* of a unit is the dead letter of its first event, by the sequence of that event in its stream; what is
//! behind it is parked. A redrive publishes a copy of the head, and its dead letter stays: the unit is blocked until
//! the copy is handled. Removed any earlier, an event that was stored before the copy could overtake it. The consumer
//! then redrives the next dead letter if that is a parked one, removes the head, and answers the copy, in this order.
//! Each of the steps can be repeated, and the dedupe store knows a copy that was handled.
//!
//! Why an index in memory is enough: with [`Order::PerUnit`](crate::Order) one process is pinned, and it alone writes
//! dead letters of its consumer. It reads them when it becomes the pinned client, before anything begins, and adds what
//! it stores. Others only remove dead letters, so that the index may have too many and never too few: before an event
//! is parked, the head is looked up. A process that lost its pin may store one more; it is of an event that comes to
//! this process as well, which then finds it by its message id, or by the copy that names it.
//!
//! Discarding removes the head first and redrives the next one then: a copy that came before the removal would not be
//! that of the head, and would be left parked. If the second step is lost, the next event of the unit makes up for it,
//! or the next process that becomes the pinned client, or a redrive of what is the head now.

use crate::{
    contract::{consumer_name::ConsumerName, subject::is_redriven},
    dead_letter::{
        DeadLetter, DeadLetterError, DeadLetterErrorKind, DeadLetters, header, unavailable,
        unit_letters::{Entry, UnitLetters, is_parked},
    },
    link::Link,
    report::report,
    telemetry::log_limit::{LogLimit, limited},
};
use async_nats::HeaderMap;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// The pause before the dead letters are read again, if that failed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The dead letters of a consumer that parks.
#[derive(Debug)]
pub(crate) struct Parking {
    dead_letters: DeadLetters,
    consumer: ConsumerName,
    stream: &'static str,
    index: Mutex<Index>,
    /// The index is to be read.
    stale: Notify,
}

#[derive(Debug, Default)]
struct Index {
    letters: UnitLetters,
    is_loaded: bool,
    /// The number of times that it became stale.
    stale: u64,
}

/// A delivered event, as far as its place in its unit depends on it.
#[derive(Debug, Clone)]
pub(crate) struct PlaceInUnit {
    pub(crate) unit: String,
    sequence: u64,
    /// Its sequence as it was published.
    original: u64,
    is_redriven: bool,
    /// The dead letter that it was redriven from, and which is still there.
    letter: Option<u64>,
}

/// The finding that an event is not to be handled now.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// It has a dead letter.
    pub(crate) is_stored: bool,
    pub(crate) why: String,
}

impl PlaceInUnit {
    pub(crate) fn of(unit: &str, sequence: u64, subject: &str, headers: Option<&HeaderMap>) -> Self {
        let is_redriven = is_redriven(subject);
        // Publishers of events might set the headers too.
        let headers = headers.filter(|_| is_redriven);
        let number = |name| headers.and_then(|headers| header::get(headers, name))?.parse().ok();
        let original = number(header::ORIGINAL).unwrap_or(sequence);
        Self { unit: unit.to_owned(), sequence, original, is_redriven, letter: number(header::LETTER) }
    }
}

impl Parking {
    pub(crate) fn new(link: &Link, consumer: ConsumerName, stream: &'static str) -> Self {
        let dead_letters = DeadLetters::new(link);
        Self { dead_letters, consumer, stream, index: Mutex::default(), stale: Notify::new() }
    }

    /// Makes the index stale: another process may have written dead letters.
    pub(crate) fn make_stale(&self) {
        let mut index = self.index();
        index.stale += 1;
        index.is_loaded = false;
        self.stale.notify_one();
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.index().is_loaded
    }

    /// Reads the index whenever it is stale, and notifies `loaded` then.
    pub(crate) async fn keep_loaded(self: Arc<Self>, loaded: Arc<Notify>, lines: Arc<LogLimit>) {
        loop {
            self.stale.notified().await;
            while let Err(error) = self.load().await {
                limited!(lines, error, "dead letters cannot be read, and nothing begins before", consumer = %self.consumer, error = %report(&error));
                sleep(READ_AGAIN_AFTER).await;
            }
            loaded.notify_one();
        }
    }

    async fn load(&self) -> Result<(), DeadLetterError> {
        let stale = self.index().stale;
        let context = &self.dead_letters.context;
        let letters = UnitLetters::read(context, self.stream, self.consumer.as_str(), "*").await;
        let letters = letters.map_err(|error| unavailable(None, error))?;
        // One that is parked behind nothing: what was before it is gone, and its redrive may have been lost.
        for (_, head) in letters.heads() {
            if let Some(letter) = self.dead_letters.find(head.sequence).await?.filter(is_due) {
                self.dead_letters.release(&letter, None).await?;
            }
        }
        let mut index = self.index();
        if index.stale == stale {
            index.letters = letters;
            index.is_loaded = true;
        }
        Ok(())
    }

    /// Returns why an event is not to be handled now, if it is not.
    pub(crate) async fn blocked(&self, event: &PlaceInUnit) -> Result<Option<Blocked>, DeadLetterError> {
        self.learn(event).await?;
        let mut removed = None;
        while let Some(head) = self.head(event).filter(|head| head.original <= event.original) {
            let Some(letter) = self.find(event, head).await? else {
                removed = Some(head.sequence);
                continue;
            };
            if head.original == event.original {
                // Dead-lettered already, but for the copy that was redriven since.
                let is_stored = !event.is_redriven || letter.stream_sequence() == event.sequence;
                return Ok(is_stored.then(|| Blocked { is_stored, why: "dead-lettered before".to_owned() }));
            }
            if removed.is_some() && is_due(&letter) {
                self.dead_letters.release(&letter, removed).await?;
            }
            let is_stored = self.has_letter(event).await?;
            let why = format!("parked behind dead letter {} of {}", head.sequence, event.unit);
            return Ok(Some(Blocked { is_stored, why }));
        }
        // What has been handled since is found by the dedupe store.
        let is_withdrawn = event.letter.is_some();
        let why =
            || "its dead letter was removed after it was redriven, and before it was handled".to_owned();
        Ok(is_withdrawn.then(|| Blocked { is_stored: false, why: why() }))
    }

    /// Lets the next event of the unit follow one that is handled, if that one had a dead letter.
    pub(crate) async fn settled(&self, event: &PlaceInUnit) -> Result<(), DeadLetterError> {
        let (unit, original) = (&event.unit, event.original);
        let letters = self.index().letters.of_event(unit, original);
        let is_head = self.head(event).is_some_and(|head| head.original == original);
        let Some(last) = letters.last().filter(|_| is_head) else { return Ok(()) };
        loop {
            let Some(next) = self.index().letters.behind(unit, original) else { break };
            if let Some(letter) = self.find(event, next).await? {
                if is_parked(&letter) {
                    self.dead_letters.release(&letter, Some(last.sequence)).await?;
                }
                break;
            }
        }
        for letter in letters {
            self.remove(event, letter).await?;
        }
        Ok(())
    }

    /// Notes the dead letter of an event, which takes the place of an earlier one.
    pub(crate) async fn stored(&self, event: &PlaceInUnit, sequence: u64, lines: &LogLimit) {
        let entry = Entry { original: event.original, sequence };
        let earlier = self.index().letters.of_event(&event.unit, event.original);
        self.index().letters.insert(&event.unit, entry);
        for earlier in earlier.into_iter().filter(|earlier| *earlier != entry) {
            if let Err(error) = self.remove(event, earlier).await {
                // Both are removed once the event is handled.
                limited!(lines, warn, "dead letter of an event that failed again was not removed", consumer = %self.consumer, dead_letter = earlier.sequence, error = %report(&error));
            }
        }
    }

    /// Looks up the dead letter that a redriven event names, if none of the event is known.
    async fn learn(&self, event: &PlaceInUnit) -> Result<(), DeadLetterError> {
        let Some(sequence) = event.letter else { return Ok(()) };
        if !self.index().letters.of_event(&event.unit, event.original).is_empty() {
            return Ok(());
        }
        let is_its_own = |letter: &DeadLetter| {
            letter.consumer() == self.consumer.as_str()
                && letter.stream() == self.stream
                && letter.unit() == Some(&event.unit)
                && letter.original_sequence() == event.original
        };
        if let Some(letter) = self.dead_letters.find(sequence).await?.filter(is_its_own) {
            self.index().letters.insert(&event.unit, Entry::of(&letter));
        }
        Ok(())
    }

    async fn has_letter(&self, event: &PlaceInUnit) -> Result<bool, DeadLetterError> {
        let letters = self.index().letters.of_event(&event.unit, event.original);
        for letter in letters {
            if self.find(event, letter).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn head(&self, event: &PlaceInUnit) -> Option<Entry> {
        self.index().letters.head(&event.unit)
    }

    /// Returns a dead letter of the unit, and forgets it if it is gone.
    async fn find(&self, event: &PlaceInUnit, entry: Entry) -> Result<Option<DeadLetter>, DeadLetterError> {
        let found = self.dead_letters.find(entry.sequence).await?;
        if found.is_none() {
            self.index().letters.remove(&event.unit, entry);
        }
        Ok(found)
    }

    async fn remove(&self, event: &PlaceInUnit, entry: Entry) -> Result<(), DeadLetterError> {
        match self.dead_letters.remove(entry.sequence, false).await {
            Err(error) if error.kind() != DeadLetterErrorKind::NotFound => return Err(error),
            _ => self.index().letters.remove(&event.unit, entry),
        }
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a head is to be redriven by itself: it is parked, and not for a redrive that was withdrawn.
fn is_due(letter: &DeadLetter) -> bool {
    is_parked(letter) && !letter.is_redriven()
}
