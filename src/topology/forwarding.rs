//! How the broker's forwarding of events to Choco is doing.

use crate::{
    nats::{api::ApiSubject, connection_watch::ConnectionWatch, permission_violation::PermissionViolation},
    topology::{CHOCO_STREAM, EVENT_STREAM, TopologyError, TopologyErrorKind, stream_info::StreamInfo},
};
use async_nats::{
    Client,
    jetstream::{self, Context, ErrorCode, response::Response},
};
use serde::Serialize;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::timeout;

/// The server hears from a source at least every second; it looks for one that is silent every 10 s.
const SILENCE: Duration = Duration::from_secs(5);
/// Who has no watch on the connection is not told that it may not ask for the origin.
const ORIGIN_WITHIN: Duration = Duration::from_secs(2);

/// How the broker's forwarding of events, from `STRATT_EVENTS` to `CHOCO_STRATT`, is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Serialized")]
pub struct Forwarding {
    lag: u64,
    last_activity: Option<Duration>,
    error: Option<String>,
    skips_new_origin: Option<bool>,
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

    /// Whether the origin was created anew since an event was last forwarded, has events, and the broker believes that
    /// nothing is left. `None` when the origin cannot be read: it has an account of its own, or the user of this
    /// connection may not.
    ///
    /// Up to nats-server 2.14, the broker goes on behind the last sequence of the old origin, and what the new one has up
    /// to there never reaches Choco: delete `CHOCO_STRATT` as well, and provision. Newer ones notice by themselves, within
    /// some 20 s. It says `Some(false)` again as soon as one event was forwarded, be it that earlier ones never were.
    #[must_use]
    pub fn skips_new_origin(&self) -> Option<bool> {
        self.skips_new_origin
    }

    /// Whether nothing is forwarded at present: the broker says why, has not heard from the origin for 5 s, or
    /// [skips a new origin](Self::skips_new_origin).
    ///
    /// It is so for a moment after the streams are created, and for up to half a minute after an origin's leader was
    /// lost or the origin was created anew: ask again before raising an alarm.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.error.is_some()
            || self.last_activity.is_none_or(|active| active > SILENCE)
            || self.skips_new_origin == Some(true)
    }

    /// See [`EventBridge::forwarding`](crate::EventBridge::forwarding).
    pub(crate) async fn read(client: &Client, watch: &ConnectionWatch) -> Result<Self, TopologyError> {
        let context = jetstream::new(client.clone());
        let message = || format!("stream {CHOCO_STREAM} could not be read");
        let answer = StreamInfo::ask(&context, CHOCO_STREAM).await.map_err(|error| {
            TopologyError::new(TopologyErrorKind::Unavailable, message()).caused_by(error)
        })?;
        match answer {
            Response::Ok(choco) => Self::of(&choco, &context, watch).await,
            Response::Err { error } => {
                let kind = match error.error_code() {
                    ErrorCode::STREAM_NOT_FOUND => TopologyErrorKind::NotFound,
                    _ => TopologyErrorKind::Refused,
                };
                Err(TopologyError::new(kind, message()).caused_by(error))
            }
        }
    }

    /// As the broker says of `CHOCO_STRATT`.
    pub(crate) async fn of(
        choco: &StreamInfo,
        context: &Context,
        watch: &ConnectionWatch,
    ) -> Result<Self, TopologyError> {
        let source = choco.sources.iter().find(|source| source.name == EVENT_STREAM).ok_or_else(|| {
            let message = format!("{CHOCO_STREAM} has no source {EVENT_STREAM}: provision the topology");
            TopologyError::new(TopologyErrorKind::Mismatch, message)
        })?;
        let skips_new_origin = match choco.state.newest() {
            // It knows of events that are left, or has forwarded none and cannot remember an older origin.
            _ if source.lag > 0 => Some(false),
            None => Some(false),
            Some(newest) => is_newer(context, watch, newest).await,
        };
        Ok(Self {
            skips_new_origin,
            lag: source.lag,
            // A negative one is never.
            last_activity: u64::try_from(source.active).ok().map(Duration::from_nanos),
            error: source.error.as_ref().map(|error| error.description.clone()),
        })
    }
}

/// The serialized form.
#[derive(Serialize)]
struct Serialized {
    lag: u64,
    last_activity_seconds: Option<f64>,
    error: Option<String>,
    skips_new_origin: Option<bool>,
    is_stalled: bool,
}

impl From<Forwarding> for Serialized {
    fn from(forwarding: Forwarding) -> Self {
        let is_stalled = forwarding.is_stalled();
        let Forwarding { lag, last_activity, error, skips_new_origin } = forwarding;
        let last_activity_seconds = last_activity.as_ref().map(Duration::as_secs_f64);
        Self { lag, last_activity_seconds, error, skips_new_origin, is_stalled }
    }
}

/// Whether the origin has events and is newer than what was forwarded last; `None` if it cannot be read.
async fn is_newer(context: &Context, watch: &ConnectionWatch, forwarded: OffsetDateTime) -> Option<bool> {
    let subject = ApiSubject::stream_info(EVENT_STREAM).to_string();
    let inbox = context.client().new_inbox();
    let is_ours = |violation: &PermissionViolation| violation.is_of_publish(&subject);
    let answer = timeout(ORIGIN_WITHIN, StreamInfo::ask(context, EVENT_STREAM));
    let answer = watch.guard(watch.now(), &inbox, is_ours, answer).await.ok()?;
    let Ok(Ok(Response::Ok(origin))) = answer else { return None };
    Some(origin.created().ok()? > forwarded && origin.state.newest().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_an_error_and_a_skipped_origin_are_stalls_and_a_lag_is_none() {
        let seen = |lag, seconds: Option<u64>, error: Option<&str>| Forwarding {
            lag,
            last_activity: seconds.map(Duration::from_secs),
            error: error.map(str::to_owned),
            skips_new_origin: None,
        };
        assert!(Forwarding { skips_new_origin: Some(true), ..seen(0, Some(1), None) }.is_stalled());
        assert!(!Forwarding { skips_new_origin: Some(false), ..seen(0, Some(1), None) }.is_stalled());
        assert!(!seen(0, Some(1), None).is_stalled() && !seen(9, Some(1), None).is_stalled());
        assert!(seen(0, Some(6), None).is_stalled() && seen(0, None, None).is_stalled());
        assert!(seen(0, Some(1), Some("stalled on flow control")).is_stalled());
    }
}
