//! The settings of one stream.

use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use std::time::Duration;

/// The default for a stream that is published to.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The default for a stream that the broker forwards to.
const FORWARDED_WINDOW: Duration = Duration::from_secs(60);
/// The shortest window that the server accepts.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);

/// Where a stream keeps its messages. Complete: JetStream has these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// In a file.
    #[default]
    File,
    /// In the memory of the servers; gone when all of them have stopped.
    Memory,
}

/// The settings of one stream.
///
/// A stream with a size limit refuses new messages when it is full, and never drops old ones before their age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    replicas: usize,
    storage: Storage,
    max_age: Duration,
    /// `None` for the default of the stream's place in the topology.
    duplicate_window: Option<Duration>,
    max_bytes: Option<i64>,
    max_messages: Option<i64>,
    max_message_size: Option<i32>,
}

impl Default for StreamSettings {
    /// Returns the defaults: one replica, in a file, for 30 days, without a size limit. The duplicate window is 2
    /// minutes; that of the stream that the broker forwards to is 1 minute, and at most half of that of the events.
    fn default() -> Self {
        Self {
            replicas: 1,
            storage: Storage::File,
            max_age: Duration::from_secs(30 * 24 * 60 * 60),
            duplicate_window: None,
            max_bytes: None,
            max_messages: None,
            max_message_size: None,
        }
    }
}

impl StreamSettings {
    /// Sets how many servers keep a copy.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets where the messages are kept. It cannot be changed afterwards.
    #[must_use]
    pub fn with_storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Sets how long messages are kept; zero means without limit.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets for how long the broker drops a message with an id that it has stored already.
    ///
    /// That of the stream that the broker forwards to must be shorter than that of the events: an event that was
    /// forwarded late is remembered there for so much longer, and one that is published again after the window would
    /// be dropped, or hold up all others (nats-server 2.10 and 2.11).
    #[must_use]
    pub fn with_duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = Some(window);
        self
    }

    /// Sets the most bytes the stream may have.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the most messages the stream may have.
    #[must_use]
    pub fn with_max_messages(mut self, messages: i64) -> Self {
        self.max_messages = Some(messages);
        self
    }

    /// Sets the most bytes a message may have, its headers included.
    #[must_use]
    pub fn with_max_message_size(mut self, bytes: i32) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// See [`with_replicas`](Self::with_replicas).
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// See [`with_max_age`](Self::with_max_age).
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// See [`with_duplicate_window`](Self::with_duplicate_window).
    #[must_use]
    pub fn duplicate_window(&self) -> Option<Duration> {
        self.duplicate_window
    }

    pub(super) fn max_message_size(&self) -> Option<i32> {
        self.max_message_size
    }

    /// Returns the window of a stream that is published to.
    pub(crate) fn window(&self) -> Duration {
        self.duplicate_window.unwrap_or(DUPLICATE_WINDOW)
    }

    /// Returns the settings for a stream that the broker forwards to, from one with the window `origin`.
    pub(super) fn forwarded_from(&self, origin: Duration) -> Self {
        let shorter = FORWARDED_WINDOW.min(origin / 2).max(SHORTEST_WINDOW).min(self.age());
        let window = self.duplicate_window.unwrap_or(shorter);
        Self { duplicate_window: Some(window), ..self.clone() }
    }

    /// Returns the age that messages reach, with zero, which means without limit, as the maximum.
    pub(super) fn age(&self) -> Duration {
        if self.max_age.is_zero() { Duration::MAX } else { self.max_age }
    }

    pub(super) fn problem(&self, stream: &str) -> Option<String> {
        let limits = [self.max_bytes, self.max_messages, self.max_message_size.map(i64::from)];
        if self.replicas == 0 {
            Some(format!("{stream} has no replicas: ask for at least one"))
        } else if self.window().is_zero() {
            Some(format!("{stream} has no duplicate window: a repeated publish would be stored twice"))
        } else if self.window() > self.age() {
            Some(format!(
                "{stream} has a duplicate window of {:?}, longer than its messages are kept ({:?}): shorten it",
                self.window(),
                self.max_age
            ))
        } else if limits.into_iter().flatten().any(|limit| limit <= 0) {
            Some(format!("{stream} has a limit of size that is not positive: leave it out for no limit"))
        } else {
            None
        }
    }

    pub(super) fn config(
        &self,
        name: &str,
        subjects: &[&str],
        sources: Option<Vec<stream::Source>>,
    ) -> stream::Config {
        stream::Config {
            name: name.into(),
            subjects: subjects.iter().map(ToString::to_string).collect(),
            sources,
            retention: RetentionPolicy::Limits,
            // A full stream refuses new messages; it never drops what a consumer has not seen.
            discard: DiscardPolicy::New,
            storage: match self.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            num_replicas: self.replicas,
            max_age: self.max_age,
            duplicate_window: self.window(),
            max_bytes: self.max_bytes.unwrap_or(-1),
            max_messages: self.max_messages.unwrap_or(-1),
            // Such a limit drops old messages of a subject, even where `discard` is new.
            max_messages_per_subject: -1,
            max_message_size: self.max_message_size.unwrap_or(-1),
            allow_direct: true,
            ..stream::Config::default()
        }
    }
}
