//! How the broker's forwarding of events to Choco is doing.

use super::{CHOCO_STREAM, EVENT_STREAM, TopologyError, TopologyErrorKind};
use async_nats::{
    Client,
    jetstream::{self, ErrorCode},
};
use serde::Deserialize;
use std::time::Duration;

/// The server hears from a source at least every second; it looks for one that is silent every 10 s.
const SILENCE: Duration = Duration::from_secs(5);

/// How the broker's forwarding of events, from `STRATT_EVENTS` to `CHOCO_STRATT`, is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    lag: u64,
    last_activity: Option<Duration>,
    error: Option<String>,
}

impl Forwarding {
    /// How many events the broker knew to be left to forward when it last heard from the origin.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lag
    }

    /// How long ago the broker last heard from the origin, be it that there is nothing new; `None` is never.
    #[must_use]
    pub fn last_activity(&self) -> Option<Duration> {
        self.last_activity
    }

    /// Why the broker cannot forward, if it says so.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether nothing is forwarded at present: the broker says why, or has not heard from the origin for 5 s.
    ///
    /// It is so for a moment after the streams are created, and for up to half a minute after an origin's leader was
    /// lost or the origin was created anew: ask again before raising an alarm.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.error.is_some() || self.last_activity.is_none_or(|active| active > SILENCE)
    }

    /// See [`EventBridge::forwarding`](crate::EventBridge::forwarding).
    pub(crate) async fn read(client: &Client) -> Result<Self, TopologyError> {
        let context = jetstream::new(client.clone());
        // Not through the type of async-nats, which has no place for the error.
        let answer = context.request::<_, _, Answer>(format!("STREAM.INFO.{CHOCO_STREAM}"), &()).await;
        let answer = answer.map_err(|error| {
            let message = format!("stream {CHOCO_STREAM} could not be read");
            TopologyError::new(TopologyErrorKind::Unavailable, message).caused_by(error)
        })?;
        if let Some(error) = answer.error {
            let kind = match error.error_code() {
                ErrorCode::STREAM_NOT_FOUND => TopologyErrorKind::NotFound,
                _ => TopologyErrorKind::Refused,
            };
            let message = format!("stream {CHOCO_STREAM} could not be read");
            return Err(TopologyError::new(kind, message).caused_by(error));
        }
        let source =
            answer.sources.into_iter().find(|source| source.name == EVENT_STREAM).ok_or_else(|| {
                let message = format!("{CHOCO_STREAM} has no source {EVENT_STREAM}: provision the topology");
                TopologyError::new(TopologyErrorKind::Drift, message)
            })?;
        Ok(Self {
            lag: source.lag,
            // A negative one is never.
            last_activity: u64::try_from(source.active).ok().map(Duration::from_nanos),
            error: source.error.map(|error| error.description),
        })
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<jetstream::Error>,
    #[serde(default)]
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    name: String,
    lag: u64,
    active: i64,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_an_error_are_stalls_and_a_lag_is_none() {
        let seen = |lag, seconds: Option<u64>, error: Option<&str>| Forwarding {
            lag,
            last_activity: seconds.map(Duration::from_secs),
            error: error.map(str::to_owned),
        };
        assert!(!seen(0, Some(1), None).is_stalled() && !seen(9, Some(1), None).is_stalled());
        assert!(seen(0, Some(6), None).is_stalled() && seen(0, None, None).is_stalled());
        assert!(seen(0, Some(1), Some("stalled on flow control")).is_stalled());
    }
}
