//! The newest event in Choco, and where the broker took it from.

use crate::{
    nats::{api_context::ApiContext, batch_get::Messages, stored::Stored},
    topology::{CHOCO_STREAM, EVENT_STREAM},
};
use futures::TryStreamExt;
use std::error::Error;

/// All subjects of Choco's stream.
const ALL: &str = "choco.>";

/// A message that the broker forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::topology) struct Forwarded {
    /// Its sequence in Choco.
    pub(in crate::topology) stored: u64,
    /// Its sequence in the stream of events.
    pub(in crate::topology) sequence: u64,
    pub(super) id: Option<String>,
}

impl Forwarded {
    /// Returns the newest message of Choco; `None` if there is none that names its origin.
    pub(in crate::topology) async fn newest(
        context: &ApiContext,
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        Ok(Stored::last(context, CHOCO_STREAM, ALL).await?.and_then(|stored| Self::of(&stored)))
    }

    fn of(stored: &Stored) -> Option<Self> {
        Some(Self {
            stored: stored.sequence,
            sequence: forwarded_sequence(stored.header_value("Nats-Stream-Source")?)?,
            id: stored.header_value("Nats-Msg-Id").map(str::to_owned),
        })
    }
}

/// Returns the sequence in Choco of the message with this sequence in the stream of events, once it is there. It is
/// looked for among those that match `filter`, from `next` on, which moves behind what was read.
pub(crate) async fn forwarded_as(
    context: &ApiContext,
    filter: String,
    sequence: u64,
    next: &mut u64,
) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
    let mut messages = Messages::of(context, CHOCO_STREAM, filter, *next..=u64::MAX);
    while let Some(message) = messages.try_next().await? {
        *next = message.sequence.saturating_add(1);
        let source = message.headers.get("Nats-Stream-Source");
        if source.and_then(|source| forwarded_sequence(source.as_str())) == Some(sequence) {
            return Ok(Some(message.sequence));
        }
    }
    Ok(None)
}

/// Returns the sequence in the stream of events that a header `Nats-Stream-Source` names; `None` if the message came
/// from elsewhere.
///
/// The first word is the name of the stream, with the path to it behind a colon where it is in another account or
/// domain, or has a durable. Newer servers add words at the end.
pub(super) fn forwarded_sequence(header: &str) -> Option<u64> {
    let mut words = header.split_ascii_whitespace();
    let name = words.next()?.split(':').next()?;
    words.next().filter(|_| name == EVENT_STREAM)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_header_has_the_sequence() {
        for (header, wanted) in [
            ("STRATT_EVENTS 7 strat.> choco.strat.>", Some(7)),
            ("STRATT_EVENTS 7 strat.> choco.strat.> strat.dev.unit.published", Some(7)),
            ("STRATT_EVENTS 7 strat.> choco.strat.> strat.dev.unit.published gZk1", Some(7)),
            ("STRATT_EVENTS:a1b2 7 strat.> choco.strat.>", Some(7)),
            ("STRATT_EVENTS:C=a1b2 7 strat.> choco.strat.>", Some(7)),
            ("STRATT_EVENTS 18446744073709551616 strat.>", None),
            ("STRATT_EVENTS_2 7 strat.> choco.strat.>", None),
            ("STRATT_EVENTS", None),
            ("", None),
        ] {
            assert_eq!(forwarded_sequence(header), wanted, "{header}");
        }
    }
}
