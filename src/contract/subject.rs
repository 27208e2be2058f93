//! Subjects: where an event is published, forwarded and dead-lettered.

use crate::contract::{consumer_name::ConsumerName, domain::Domain, event::EventType, value::ParseError};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// The stream a consumer reads from.
///
/// Complete: the wire contract has one stream for events and one that the broker forwards to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Feed {
    /// `STRATT_EVENTS`, subjects `strat.{domain}.{event-type}`.
    #[default]
    Strat,
    /// `CHOCO_STRATT`, subjects `choco.strat.{domain}.{event-type}`, with permissions and retention of its own.
    Choco,
}

impl Feed {
    /// Returns the name of the stream.
    #[must_use]
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Strat => "STRATT_EVENTS",
            Self::Choco => "CHOCO_STRATT",
        }
    }

    /// Returns the prefix of every subject of an event as it was published.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Strat => "strat.",
            Self::Choco => "choco.strat.",
        }
    }

    /// Returns the prefix of every subject of a redriven event.
    pub(crate) const fn redrive_prefix(self) -> &'static str {
        match self {
            Self::Strat => "stratt.redrive.",
            Self::Choco => "choco.redrive.",
        }
    }

    /// Returns the subject of an event.
    #[must_use]
    pub fn subject(self, domain: &Domain, event_type: EventType) -> String {
        [self.prefix(), domain.as_str(), ".", event_type.as_str()].concat()
    }

    /// Returns the filter that matches events of a type in one domain, or in all of them.
    pub(crate) fn filter(self, domain: Option<&Domain>, event_type: EventType) -> String {
        [self.prefix(), domain.map_or("*", Domain::as_str), ".", event_type.as_str()].concat()
    }

    /// Returns the filter that matches events of a type that are redriven for a consumer, as [`filter`](Self::filter).
    pub(crate) fn redrive_filter(
        self,
        consumer: &ConsumerName,
        domain: Option<&Domain>,
        event_type: EventType,
    ) -> String {
        let domain = domain.map_or("*", Domain::as_str);
        [self.redrive_prefix(), consumer.as_str(), ".", domain, ".", event_type.as_str()].concat()
    }

    /// Returns the filters of a consumer: events of these types in these domains, or in all if there are none, and the
    /// same events where they are redriven for this consumer.
    pub(crate) fn filters(
        self,
        consumer: &ConsumerName,
        domains: impl IntoIterator<Item = Domain>,
        event_types: &[EventType],
    ) -> Vec<String> {
        let domains: BTreeSet<_> = domains.into_iter().collect();
        let event_types: BTreeSet<_> = event_types.iter().copied().collect();
        let domains: Vec<_> =
            if domains.is_empty() { vec![None] } else { domains.iter().map(Some).collect() };
        let each = || domains.iter().flat_map(|domain| event_types.iter().map(|of| (*domain, *of)));
        let events = each().map(|(domain, event_type)| self.filter(domain, event_type));
        let redriven = each().map(|(domain, event_type)| self.redrive_filter(consumer, domain, event_type));
        events.chain(redriven).collect()
    }
}

impl fmt::Display for Feed {
    /// Writes the name of the stream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.stream())
    }
}

impl FromStr for Feed {
    type Err = ParseError;

    /// Reads the name of the stream.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = [Self::Strat, Self::Choco].into_iter().find(|feed| feed.stream() == text);
        named.ok_or_else(|| ParseError::new("feed", "must be STRATT_EVENTS or CHOCO_STRATT", text))
    }
}

/// The parts of an event subject of either feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// The consumer that the event is redriven for; `None` for an event as it was published.
    pub(crate) consumer: Option<&'a str>,
    pub(crate) domain: &'a str,
    pub(crate) event_type: &'a str,
}

impl<'a> Address<'a> {
    pub(crate) fn parse(subject: &'a str) -> Option<Self> {
        let feeds = [Feed::Strat, Feed::Choco];
        let published = feeds.iter().find_map(|feed| subject.strip_prefix(feed.prefix()));
        let (consumer, rest) = if let Some(rest) = published {
            (None, rest)
        } else {
            let rest = feeds.iter().find_map(|feed| subject.strip_prefix(feed.redrive_prefix()))?;
            let (consumer, rest) = rest.split_once('.')?;
            (Some(consumer), rest)
        };
        let (domain, event_type) = rest.split_once('.')?;
        Some(Self { consumer, domain, event_type })
    }
}

/// Returns whether an event that arrived on `subject` is redriven.
pub(crate) fn is_redriven(subject: &str) -> bool {
    Address::parse(subject).is_some_and(|address| address.consumer.is_some())
}

/// Returns the subject that an event is redriven on, from where the broker forwards it to consumers of
/// [`Feed::Choco`].
pub(crate) fn redrive_subject(consumer: &ConsumerName, domain: &Domain, event_type: EventType) -> String {
    Feed::Strat.redrive_filter(consumer, Some(domain), event_type)
}

/// The token of a dead-letter subject that replaces an invalid domain or event type.
pub(crate) const UNKNOWN: &str = "_";

/// Returns the subject of a dead letter, for any subject that its event arrived on.
///
/// A consumer, domain or type that is not valid becomes `_`, so that hostile text never becomes part of a subject.
pub(crate) fn dead_letter_subject(consumer: &str, event_subject: &str) -> String {
    let consumer = consumer.parse::<ConsumerName>().ok();
    let address = Address::parse(event_subject);
    let domain = address.and_then(|address| address.domain.parse::<Domain>().ok());
    let event_type = address.and_then(|address| address.event_type.parse::<EventType>().ok());
    dead_letter_filter(
        consumer.as_ref().map_or(UNKNOWN, ConsumerName::as_str),
        domain.as_ref().map_or(UNKNOWN, Domain::as_str),
        event_type.as_ref().map_or(UNKNOWN, EventType::as_str),
    )
}

/// Returns the subject of dead letters; each part may be a wildcard.
pub(crate) fn dead_letter_filter(
    consumer: impl fmt::Display,
    domain: impl fmt::Display,
    event_type: impl fmt::Display,
) -> String {
    format!("stratt.dlq.{consumer}.{domain}.{event_type}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_read_as_it_is_written() {
        for feed in [Feed::Strat, Feed::Choco] {
            assert_eq!(feed.to_string().parse(), Ok(feed));
        }
        let error = "strat".parse::<Feed>().unwrap_err();
        assert_eq!(error.to_string(), "invalid feed \"strat\": must be STRATT_EVENTS or CHOCO_STRATT");
    }

    #[test]
    fn subjects_of_both_feeds_say_the_same() {
        let domain: Domain = "dev".parse().unwrap();
        for (feed, subject) in
            [(Feed::Strat, "strat.dev.unit.tampered"), (Feed::Choco, "choco.strat.dev.unit.tampered")]
        {
            assert_eq!(feed.subject(&domain, EventType::UnitTampered), subject);
            let address = Address::parse(subject).unwrap();
            assert_eq!(address, Address { consumer: None, domain: "dev", event_type: "unit.tampered" });
        }
    }

    #[test]
    fn a_redrive_names_its_consumer_on_both_feeds() {
        let consumer: ConsumerName = "strat".parse().unwrap();
        let domain: Domain = "dev".parse().unwrap();
        let subject = redrive_subject(&consumer, &domain, EventType::UnitTampered);
        assert_eq!(subject, "stratt.redrive.strat.dev.unit.tampered");
        for subject in [&*subject, "choco.redrive.strat.dev.unit.tampered"] {
            let redriven = Address { consumer: Some("strat"), domain: "dev", event_type: "unit.tampered" };
            assert_eq!(Address::parse(subject), Some(redriven));
        }
    }

    #[test]
    fn a_consumer_filters_events_and_its_own_redrives() {
        let consumer: ConsumerName = "c".parse().unwrap();
        let types = [EventType::UnitTampered, EventType::UnitPublished];
        let wanted = [
            "choco.strat.*.unit.published",
            "choco.strat.*.unit.tampered",
            "choco.redrive.c.*.unit.published",
            "choco.redrive.c.*.unit.tampered",
        ];
        assert_eq!(Feed::Choco.filters(&consumer, [], &types), wanted);
        let wanted = ["strat.dev.unit.tampered", "stratt.redrive.c.dev.unit.tampered"];
        assert_eq!(Feed::Strat.filters(&consumer, ["dev".parse().unwrap()], &types[..1]), wanted);
    }

    #[test]
    fn dead_letter_subjects_hold_no_hostile_text() {
        for (consumer, subject, wanted) in [
            ("c", "strat.dev.chain.gate.fired", "stratt.dlq.c.dev.chain.gate.fired"),
            ("c", "choco.strat.dev.unit.published", "stratt.dlq.c.dev.unit.published"),
            ("c", "strat.*.unit.published", "stratt.dlq.c._.unit.published"),
            ("c", "strat.dev.>", "stratt.dlq.c.dev._"),
            ("c", "stratt.redrive.c.dev.unit.published", "stratt.dlq.c.dev.unit.published"),
            ("c", "choco.redrive.other.dev.unit.published", "stratt.dlq.c.dev.unit.published"),
            ("c", "stratt.redrive.c.dev", "stratt.dlq.c._._"),
            ("c", "elsewhere", "stratt.dlq.c._._"),
            ("grün", "strat.dev.unit.published", "stratt.dlq._.dev.unit.published"),
        ] {
            assert_eq!(dead_letter_subject(consumer, subject), wanted);
        }
    }
}
