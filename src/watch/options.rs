//! The options of a watch.

use crate::{
    consumer::StartAt,
    contract::{
        consumer_name::ConsumerName, domain::Domain, envelope::Envelope, event::EventType, subject::Feed,
    },
};
use std::{collections::BTreeSet, fmt, time::Duration};
use time::OffsetDateTime;
use uuid::Uuid;

/// The place in the stream where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WatchFrom {
    /// The first event that is stored after the watch is opened.
    #[default]
    Now,
    /// The oldest event that the stream has.
    Oldest,
    /// The event at this sequence, or the next one that the stream has. Sequences begin at 1.
    Sequence(u64),
    /// The first event that was stored at this time or later, by the clock of the server.
    Time(OffsetDateTime),
}

/// The options of a [`Watch`](crate::watch::Watch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    pub(super) from: WatchFrom,
    event_types: BTreeSet<EventType>,
    domains: BTreeSet<Domain>,
    pub(super) name: Option<ConsumerName>,
    pub(super) inactive_threshold: Duration,
    pub(super) max_envelope_bytes: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            from: WatchFrom::default(),
            event_types: BTreeSet::new(),
            domains: BTreeSet::new(),
            name: None,
            inactive_threshold: Duration::from_secs(30),
            max_envelope_bytes: Envelope::MAX_BYTES,
        }
    }
}

impl WatchOptions {
    /// Sets where the watch begins; by default now.
    #[must_use]
    pub fn with_from(mut self, from: WatchFrom) -> Self {
        self.from = from;
        self
    }

    /// Restricts the watch to events of these types; by default all.
    #[must_use]
    pub fn with_event_types(mut self, event_types: impl IntoIterator<Item = EventType>) -> Self {
        self.event_types = event_types.into_iter().collect();
        self
    }

    /// Restricts the watch to events of these domains; by default all.
    #[must_use]
    pub fn with_domains(mut self, domains: impl IntoIterator<Item = Domain>) -> Self {
        self.domains = domains.into_iter().collect();
        self
    }

    /// Sets the name of the watch; by default a random one. On the server, its temporary consumer is `watch-{name}`.
    ///
    /// For users whose permissions name it, as a [`LiveReaderRole`](crate::acl::LiveReaderRole) does. Each process
    /// needs its own: two watches of one name take it from each other again and again.
    #[must_use]
    pub fn with_name(mut self, name: ConsumerName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets how long the server keeps the temporary consumer when its process is gone; 30 s by default.
    ///
    /// A watch that is away for longer makes a new one and misses nothing.
    #[must_use]
    pub fn with_inactive_threshold(mut self, threshold: Duration) -> Self {
        self.inactive_threshold = threshold;
        self
    }

    /// Sets the most bytes that an envelope may have; 256 KiB by default. A larger one is an error in its place.
    #[must_use]
    pub fn with_max_envelope_bytes(mut self, bytes: usize) -> Self {
        self.max_envelope_bytes = bytes;
        self
    }

    /// Returns the name of the temporary consumer.
    pub(super) fn consumer_name(&self) -> String {
        self.name.as_ref().map_or_else(|| temporary_name(Uuid::new_v4().simple()), temporary_name)
    }

    /// Returns the filters of the temporary consumer, which do not overlap.
    pub(super) fn filters(&self, feed: Feed) -> Vec<String> {
        let types = || self.event_types.iter().map(EventType::as_str);
        let of_domain = |domain: &str| -> Vec<String> {
            let prefix = feed.prefix();
            if self.event_types.is_empty() {
                return vec![format!("{prefix}{domain}.>")];
            }
            types().map(|event_type| format!("{prefix}{domain}.{event_type}")).collect()
        };
        match (self.domains.is_empty(), self.event_types.is_empty()) {
            (true, true) => vec![format!("{}>", feed.prefix())],
            (true, false) => of_domain("*"),
            (false, _) => self.domains.iter().flat_map(|domain| of_domain(domain.as_str())).collect(),
        }
    }
}

/// Returns the name of a temporary consumer, which no durable has: it is deleted before it is made.
pub(crate) fn temporary_name(name: impl fmt::Display) -> String {
    format!("watch-{name}")
}

impl WatchFrom {
    /// Returns the place as a durable names it.
    pub(super) fn start_at(self) -> StartAt {
        match self {
            Self::Now => StartAt::New,
            Self::Oldest => StartAt::All,
            Self::Sequence(sequence) => StartAt::Sequence(sequence),
            Self::Time(time) => StartAt::Time(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_name_domains_and_types_as_far_as_they_are_given() {
        let dev: Domain = "dev".parse().unwrap();
        let types = [EventType::UnitTampered, EventType::UnitPublished];
        let all = WatchOptions::default();
        assert_eq!(all.filters(Feed::Choco), ["choco.strat.>"]);
        assert_eq!(all.clone().with_domains([dev.clone()]).filters(Feed::Strat), ["strat.dev.>"]);
        let of_types = all.with_event_types(types);
        let wanted = ["strat.*.unit.published", "strat.*.unit.tampered"];
        assert_eq!(of_types.filters(Feed::Strat), wanted);
        let of_both = of_types.with_domains([dev]);
        assert_eq!(of_both.filters(Feed::Strat), wanted.map(|filter| filter.replace('*', "dev")));
    }
}
