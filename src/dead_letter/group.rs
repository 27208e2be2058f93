//! Dead letters of one cause, together.

use crate::dead_letter::{
    DeadLetter, DeadLetterError, DeadLetterFilter, DeadLetterReason, DeadLetters, error_pattern::pattern,
    header,
};
use futures::TryStreamExt;
use std::{cmp::Reverse, collections::HashMap};
use time::OffsetDateTime;

/// The dead letters of one consumer, event type, reason and cause, which is their error without its variable parts.
#[derive(Debug, Clone)]
pub struct DeadLetterGroup {
    key: Key,
    count: u64,
    first: Option<OffsetDateTime>,
    last: Option<OffsetDateTime>,
    example: DeadLetter,
}

/// The properties that the dead letters of a group share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    consumer: String,
    event_type: String,
    reason: Option<DeadLetterReason>,
    error_pattern: String,
}

impl DeadLetters {
    /// Returns the dead letters that match in groups of one cause, the largest first, of those that were stored when
    /// this was called.
    ///
    /// # Errors
    ///
    /// When the broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn groups(&self, filter: DeadLetterFilter) -> Result<Vec<DeadLetterGroup>, DeadLetterError> {
        let mut groups: HashMap<Key, DeadLetterGroup> = HashMap::new();
        let mut letters = self.list(filter).await?;
        while let Some(letter) = letters.try_next().await? {
            let key = Key::of(&letter);
            match groups.get_mut(&key) {
                Some(group) => group.add(&letter),
                None => {
                    groups.insert(key.clone(), DeadLetterGroup::new(key, letter));
                }
            }
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (Reverse(group.count), group.example.sequence()));
        Ok(groups)
    }
}

impl DeadLetterGroup {
    fn new(key: Key, example: DeadLetter) -> Self {
        let time = example.time();
        Self { key, count: 1, first: time, last: time, example }
    }

    fn add(&mut self, letter: &DeadLetter) {
        self.count += 1;
        if let Some(time) = letter.time() {
            self.first = self.first.map_or(Some(time), |first| Some(first.min(time)));
            self.last = self.last.max(Some(time));
        }
    }

    /// Returns a short name of the group, which stays the same as long as it exists: 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let Key { consumer, event_type, reason, error_pattern } = &self.key;
        let reason = reason.as_ref().map_or("", DeadLetterReason::as_str);
        let digest = header::digest([consumer, event_type, reason, error_pattern].join("\n").as_bytes());
        digest.chars().take(16).collect()
    }

    /// Returns the consumer that could not handle the events.
    #[must_use]
    pub fn consumer(&self) -> &str {
        &self.key.consumer
    }

    /// Returns the type of the events; empty where their subject names none.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.key.event_type
    }

    /// Returns the reason; `None` if the records do not follow this contract.
    #[must_use]
    pub fn reason(&self) -> Option<DeadLetterReason> {
        self.key.reason
    }

    /// Returns the error with `<uri>`, `<id>` and `<n>` in place of URIs, identifiers and numbers.
    #[must_use]
    pub fn error_pattern(&self) -> &str {
        &self.key.error_pattern
    }

    /// Returns how many dead letters the group has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns when the first of them was dead-lettered; `None` if no record has its time.
    #[must_use]
    pub fn first_time(&self) -> Option<OffsetDateTime> {
        self.first
    }

    /// Returns when the last of them was dead-lettered; `None` if no record has its time.
    #[must_use]
    pub fn last_time(&self) -> Option<OffsetDateTime> {
        self.last
    }

    /// Returns one of them, the first that was stored.
    #[must_use]
    pub fn example(&self) -> &DeadLetter {
        &self.example
    }

    /// Returns whether a dead letter belongs to this group.
    #[must_use]
    pub fn contains(&self, letter: &DeadLetter) -> bool {
        Key::of(letter) == self.key
    }

    /// Returns the filter that selects the dead letters of the group, and others beside them.
    pub(super) fn filter(&self) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::default();
        if let Ok(consumer) = self.key.consumer.parse() {
            filter = filter.with_consumer(consumer);
        }
        if let Ok(event_type) = self.key.event_type.parse() {
            filter = filter.with_event_type(event_type);
        }
        filter
    }
}

impl Key {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            consumer: letter.consumer().to_owned(),
            event_type: letter.event_type().to_owned(),
            reason: letter.reason(),
            error_pattern: pattern(letter.error()),
        }
    }
}
