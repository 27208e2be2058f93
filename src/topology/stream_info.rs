//! The state of a stream as the broker reports it.
//!
//! Read as JSON: the type of async-nats has no place for the error of a source, and a feature of async-nats changes
//! the type of its times for the whole build.

use crate::{nats::api::ApiSubject, topology::status::StreamState};
use async_nats::jetstream::{Context, context::RequestError, response::Response};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use std::{error::Error, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Debug, Deserialize)]
pub(crate) struct StreamInfo {
    created: String,
    /// The server's time.
    ts: Option<String>,
    /// The JetStream domain of the stream.
    #[serde(default)]
    pub(crate) domain: Option<String>,
    pub(crate) state: State,
    #[serde(default)]
    pub(super) sources: Vec<Source>,
    config: Settings,
}

#[derive(Debug, Deserialize)]
struct Settings {
    /// Nanoseconds; 0 if messages are kept without limit.
    #[serde(default)]
    max_age: u64,
    /// 0 or less without a limit, as for bytes.
    #[serde(default)]
    max_msgs: i64,
    #[serde(default)]
    max_bytes: i64,
    #[serde(default)]
    sources: Vec<SourceSettings>,
}

#[derive(Debug, Deserialize)]
struct SourceSettings {
    consumer: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct State {
    #[serde(flatten)]
    pub(crate) held: StreamState,
    #[serde(deserialize_with = "since_1970")]
    first_ts: Option<Duration>,
    #[serde(deserialize_with = "since_1970")]
    last_ts: Option<Duration>,
}

/// Where a stream is copied from.
#[derive(Debug, Deserialize)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) lag: u64,
    pub(super) active: i64,
    pub(super) error: Option<SourceError>,
    external: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SourceError {
    pub(super) description: String,
}

impl Source {
    /// Returns whether it is in another account or domain.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.external.is_some()
    }
}

impl StreamInfo {
    pub(crate) async fn ask(context: &Context, stream: &str) -> Result<Response<Self>, RequestError> {
        context.request(ApiSubject::stream_info(stream).request(), &()).await
    }

    /// Returns the last sequence that a stream has or had.
    pub(crate) async fn last_sequence(
        context: &Context,
        stream: &str,
    ) -> Result<u64, Box<dyn Error + Send + Sync>> {
        match Self::ask(context, stream).await? {
            Response::Ok(info) => Ok(info.state.held.last_sequence),
            Response::Err { error } => Err(error.into()),
        }
    }

    /// Returns whether another message of the usual size would go beyond one of its limits.
    pub(super) fn is_full(&self) -> bool {
        let limit = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
        let StreamState { messages, bytes, .. } = self.state.held;
        let usual = bytes.checked_div(messages).unwrap_or(0);
        limit(self.config.max_msgs).is_some_and(|most| messages >= most)
            || limit(self.config.max_bytes).is_some_and(|most| bytes.saturating_add(usual) > most)
    }

    /// Returns whether the broker forwards to it from a durable.
    pub(super) fn has_durable_source(&self) -> bool {
        self.config.sources.iter().any(|source| source.consumer.is_some())
    }

    /// Returns what the server took the time for when it answered, since 1970.
    pub(crate) fn now(&self) -> Option<Duration> {
        parsed(self.ts.as_ref()?)
    }

    /// Returns the age at which the stream removes messages; zero if it keeps them.
    pub(crate) fn max_age(&self) -> Duration {
        Duration::from_nanos(self.config.max_age)
    }

    /// Returns when the stream was created.
    pub(crate) fn created(&self) -> Result<OffsetDateTime, time::error::Parse> {
        OffsetDateTime::parse(&self.created, &Rfc3339)
    }
}

impl State {
    /// Returns the sequences of the oldest and the newest message and when they were stored, since 1970; `None` where
    /// the stream is empty.
    pub(crate) fn ends(&self) -> [Option<(u64, Duration)>; 2] {
        let StreamState { messages, first_sequence, last_sequence, .. } = self.held;
        let end = |sequence, time: Option<_>| Some((sequence, time?)).filter(|_| messages > 0);
        [end(first_sequence, self.first_ts), end(last_sequence, self.last_ts)]
    }

    /// Returns when the newest message was stored, even if it is gone since; `None` if there never was one.
    pub(super) fn newest(&self) -> Option<OffsetDateTime> {
        if self.held.last_sequence == 0 { None } else { Some(OffsetDateTime::UNIX_EPOCH + self.last_ts?) }
    }
}

fn since_1970<'de, D: Deserializer<'de>>(time: D) -> Result<Option<Duration>, D::Error> {
    Ok(parsed(&String::deserialize(time)?))
}

/// Returns the time since 1970; `None` of an earlier one, which an empty stream has.
fn parsed(time: &str) -> Option<Duration> {
    (OffsetDateTime::parse(time, &Rfc3339).ok()? - OffsetDateTime::UNIX_EPOCH).try_into().ok()
}
