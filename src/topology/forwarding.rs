//! The state of the broker's forwarding of events to Choco.

mod forwarded;

pub(super) use forwarded::Forwarded;

use crate::{
    nats::{api::ApiSubject, connection_watch::ConnectionWatch, permission_violation::PermissionViolation},
    topology::{CHOCO_STREAM, EVENT_STREAM, TopologyError, TopologyErrorKind, stream_info::StreamInfo},
};
use async_nats::{
    Client,
    jetstream::{self, Context, ErrorCode, response::Response},
};
use serde::Serialize;
use std::{pin::pin, time::Duration};
use time::OffsetDateTime;
use tokio::time::timeout;

/// The longest normal silence: a source sends at least every second, and the server looks for silent ones every 10 s.
const SILENCE: Duration = Duration::from_secs(5);
/// Without a connection watch, a permission violation for the origin is not reported, and the request times out.
const ORIGIN_WITHIN: Duration = Duration::from_secs(2);

/// The state of the broker's forwarding of events from `STRATT_EVENTS` to `CHOCO_STRATT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Serialized")]
pub struct Forwarding {
    lag: u64,
    last_activity: Option<Duration>,
    error: Option<String>,
    skips_new_origin: Option<bool>,
}

impl Forwarding {
    /// Returns how many events were left to forward when the broker last heard from the source stream.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lag
    }

    /// Returns the time since the broker last heard from the source stream, idle heartbeats included; `None` if it
    /// never has.
    #[must_use]
    pub fn last_activity(&self) -> Option<Duration> {
        self.last_activity
    }

    /// Returns the reason why the broker cannot forward, if it reports one.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Returns whether the source stream was recreated since an event was last forwarded, has events, and the broker
    /// believes that nothing is left to forward. `None` when it cannot be read: it is in another account, or the user
    /// of this connection may not read it.
    ///
    /// Up to nats-server 2.14, the broker continues after the last sequence of the old stream, and the events of the
    /// new one up to there never reach Choco: delete `CHOCO_STRATT` as well, and provision. Newer servers notice
    /// within some 20 s. It is `Some(false)` again as soon as one event was forwarded, even if earlier ones never
    /// were.
    #[must_use]
    pub fn skips_new_origin(&self) -> Option<bool> {
        self.skips_new_origin
    }

    /// Returns whether forwarding is stalled: the broker reports an error, has not heard from the source stream for 5
    /// s, or [skips a new origin](Self::skips_new_origin).
    ///
    /// That is normal for a moment after the streams are created, and for up to half a minute after the leader of the
    /// source stream was lost or that stream was recreated: ask again before raising an alarm.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.error.is_some()
            || self.last_activity.is_none_or(|active| active > SILENCE)
            || self.skips_new_origin == Some(true)
    }

    /// Reads the state; see [`EventBridge::forwarding`](crate::EventBridge::forwarding).
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

    /// Derives the state from what the broker reports of `CHOCO_STRATT`.
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
            // It knows of events that are left, or has forwarded none and cannot remember an older source stream.
            _ if source.lag > 0 => Some(false),
            None => Some(false),
            Some(newest) => is_newer(context, watch, newest).await,
        };
        Ok(Self {
            skips_new_origin,
            lag: source.lag,
            // A negative time means never.
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

/// Returns whether the source stream has events and is newer than the last forwarded event; `None` if it cannot be
/// read.
async fn is_newer(context: &Context, watch: &ConnectionWatch, forwarded: OffsetDateTime) -> Option<bool> {
    let subject = ApiSubject::stream_info(EVENT_STREAM).to_string();
    let inbox = context.client().new_inbox();
    let is_ours = |violation: &PermissionViolation| violation.is_of_publish(&subject);
    let answer = pin!(timeout(ORIGIN_WITHIN, StreamInfo::ask(context, EVENT_STREAM)));
    let answer = watch.guard(watch.now(), &inbox, is_ours, answer).await.ok()?;
    let Ok(Ok(Response::Ok(origin))) = answer else { return None };
    Some(origin.created().ok()? > forwarded && origin.state.newest().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_errors_and_a_skipped_origin_are_stalls_a_lag_is_not() {
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
