//! The state of the broker's forwarding of events to Choco.

mod forwarded;
mod heal;
mod look;
mod memory;
mod meter;
mod options;
mod proof;
mod watch;

pub(super) use forwarded::Forwarded;
pub(crate) use forwarded::forwarded_as;
pub(crate) use heal::heal;
pub(crate) use look::Access;
pub(crate) use memory::Memory;
pub use options::ForwardingOptions;
pub use watch::ForwardingWatch;

use crate::{
    nats::api::flow_control,
    topology::{
        CHOCO_STREAM, DURABLE_SOURCE, EVENT_STREAM, TopologyError, TopologyErrorKind, stream_info::StreamInfo,
    },
};
use async_nats::jetstream::{ErrorCode, response::Response};
use look::{Origin, lacks_durable};
use memory::Seen;
use options::{BOUND, DURABLE_BOUND};
use proof::Progress;
use serde::Serialize;
use std::{error::Error, fmt, time::Duration};
use tokio::time::timeout;

/// The longest normal silence: a source sends at least every second, and the server looks for silent ones every 10 s.
const SILENCE: Duration = Duration::from_secs(5);

/// The state of the broker's forwarding of events from `STRATT_EVENTS` to `CHOCO_STRATT`.
///
/// What the broker reports of it (lag, activity, error) proves nothing: a source may stop for good with a lag of
/// 0, active, and without an error ([nats-server#8630](https://github.com/nats-io/nats-server/issues/8630)). So
/// the newest event of the one stream is compared with the origin of the newest in the other, over several looks.
///
/// [`Display`](fmt::Display) is one line for a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Serialized")]
pub struct Forwarding {
    lag: u64,
    last_activity: Option<Duration>,
    error: Option<String>,
    skips_new_origin: Option<bool>,
    progress: Option<Progress>,
    /// For how long the hints have been bad.
    bad_for: Option<Duration>,
    lacks_durable: bool,
    is_choco_full: bool,
    bound: Duration,
}

impl Forwarding {
    /// Returns how many events were left to forward when the broker last heard from the source stream: a hint.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lag
    }

    /// Returns the time since the broker last heard from the source stream, idle heartbeats included; `None` if it
    /// never has. A hint.
    #[must_use]
    pub fn last_activity(&self) -> Option<Duration> {
        self.last_activity
    }

    /// Returns the reason why the broker cannot forward, if it reports one: a hint.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Returns whether the source stream was recreated since an event was last forwarded, has events, and the broker
    /// believes that nothing is left to forward. `None` when it cannot be read: it is in another account, or the user
    /// of this connection may not read it.
    ///
    /// Up to nats-server 2.14, the broker continues after the last sequence of the old stream, and the events of the
    /// new one up to there never reach Choco, unless [`provision`](crate::EventBridge::provision) created it: its
    /// sequences then go on. Otherwise delete `CHOCO_STRATT` as well, and provision. Newer servers notice within some
    /// 20 s. It is `Some(false)` again as soon as one event was forwarded, even if earlier ones never were.
    #[must_use]
    pub fn skips_new_origin(&self) -> Option<bool> {
        self.skips_new_origin
    }

    /// Returns the sequence in `STRATT_EVENTS` up to which everything has reached Choco; 0 if nothing is known to
    /// have.
    ///
    /// `None` without a proof: `STRATT_EVENTS` is in another account, or the user of this connection may not read the
    /// messages of both streams (`$JS.API.STREAM.MSG.GET`, see [`WatcherRole`](crate::acl::WatcherRole)).
    #[must_use]
    pub fn proven_up_to(&self) -> Option<u64> {
        self.progress.map(|progress| progress.proven)
    }

    /// Returns how many events at most have not reached Choco yet, by their sequences; `None` without a proof.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        self.progress.map(|progress| progress.behind)
    }

    /// Returns for how long an event that was seen in `STRATT_EVENTS` has not reached Choco; `None` if none is
    /// owed, and without a proof.
    #[must_use]
    pub fn behind_for(&self) -> Option<Duration> {
        self.progress?.behind_for
    }

    fn stalled_for(&self) -> Option<Duration> {
        self.progress.map_or(self.bad_for, |progress| progress.stalled_for)
    }

    /// Returns the time after which forwarding that owes an event and makes no progress is stalled.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Returns whether forwarding is stalled: an event is owed, or `STRATT_EVENTS` does not exist, and nothing was
    /// forwarded for the [bound](Self::bound), whatever the broker reports; or the
    /// [durable is missing](Self::lacks_durable). The time in which it did not answer does
    /// not count.
    ///
    /// A single look cannot know it: ask again, by the same bridge, or hold a [`ForwardingWatch`].
    ///
    /// Without a [proof](Self::proven_up_to), only the hints are left, and have to be bad for the bound as well: the
    /// broker reports an error, has not heard from the source stream for 5 s, or
    /// [skips a new origin](Self::skips_new_origin).
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.lacks_durable || self.stalled_for().is_some_and(|stalled| stalled >= self.bound)
    }

    fn are_hints_bad(&self) -> bool {
        self.error.is_some()
            || self.last_activity.is_none_or(|active| active > SILENCE)
            || self.skips_new_origin == Some(true)
    }

    /// Returns whether it is stalled because flow control does not reach the source stream: the broker says so, or
    /// forwarding stopped again within a minute after it was [healed](crate::EventBridge::heal_forwarding).
    #[must_use]
    pub fn lacks_flow_control(&self) -> bool {
        let is_told = self.error.as_ref().is_some_and(|error| error.contains("flow control"));
        self.is_stalled() && (is_told || self.progress.is_some_and(|progress| progress.stops_again))
    }

    /// Returns whether the [durable](crate::topology::Topology::with_durable_source) that the broker forwards from was
    /// removed: provision the topology again.
    #[must_use]
    pub fn lacks_durable(&self) -> bool {
        self.lacks_durable
    }

    /// Returns whether `CHOCO_STRATT` has reached a limit of its size, so that nothing more fits: raise the limit, or
    /// let it keep events for a shorter time.
    #[must_use]
    pub fn is_choco_full(&self) -> bool {
        self.is_choco_full
    }

    /// Reads the state; see [`EventBridge::forwarding`](crate::EventBridge::forwarding). `origin` is a connection to
    /// the account of the events, if Choco has another.
    pub(crate) async fn read(
        memory: &Memory,
        choco: &Access,
        origin: Option<&Access>,
    ) -> Result<Self, TopologyError> {
        let message = || format!("stream {CHOCO_STREAM} could not be read");
        let asked = timeout(choco.within, StreamInfo::ask(&choco.context, CHOCO_STREAM)).await;
        let answer = match asked.map_err(Box::from).and_then(|answer| answer.map_err(Box::from)) {
            Ok(answer) => answer,
            Err(error) => {
                let error: Box<dyn Error + Send + Sync> = error;
                memory.see_nothing().await;
                return Err(TopologyError::new(TopologyErrorKind::Unavailable, message()).caused_by(error));
            }
        };
        match answer {
            Response::Ok(info) => Self::of(&info, memory, choco, origin).await,
            Response::Err { error } => {
                let kind = match error.error_code() {
                    ErrorCode::STREAM_NOT_FOUND => TopologyErrorKind::NotFound,
                    _ => TopologyErrorKind::Refused,
                };
                Err(TopologyError::new(kind, message()).caused_by(error))
            }
        }
    }

    /// Derives the state from what the broker reports of `CHOCO_STRATT`, and from the newest messages.
    pub(crate) async fn of(
        info: &StreamInfo,
        memory: &Memory,
        choco: &Access,
        origin: Option<&Access>,
    ) -> Result<Self, TopologyError> {
        let source = info.sources.iter().find(|source| source.name == EVENT_STREAM).ok_or_else(|| {
            let message = format!("{CHOCO_STREAM} has no source {EVENT_STREAM}: provision the topology");
            TopologyError::new(TopologyErrorKind::Mismatch, message)
        })?;
        let seen = match origin.or((!source.is_elsewhere()).then_some(choco)) {
            Some(origin) => memory.look(info, choco, origin).await,
            None => Seen { progress: memory.progress().await, origin: Origin::Unknown },
        };
        let is_durable = info.has_durable_source();
        let lacks_durable = is_durable && lacks_durable(origin.unwrap_or(choco)).await;
        let skips_new_origin = match (info.state.newest(), &seen.origin) {
            // It knows of events that are left, or has forwarded none and cannot remember an older source stream.
            _ if source.lag > 0 => Some(false),
            (None, _) => Some(false),
            (Some(forwarded), Origin::Found(origin)) => {
                let created = origin.created().ok();
                created.map(|created| created > forwarded && origin.state.newest().is_some())
            }
            (Some(_), _) => None,
        };
        let seen = Self {
            skips_new_origin,
            lag: source.lag,
            // A negative time means never.
            last_activity: u64::try_from(source.active).ok().map(Duration::from_nanos),
            error: source.error.as_ref().map(|error| error.description.clone()),
            progress: seen.progress,
            bad_for: None,
            lacks_durable,
            is_choco_full: info.is_full(),
            bound: if is_durable { DURABLE_BOUND } else { BOUND },
        };
        let bad_for = memory.hints(seen.are_hints_bad()).await;
        Ok(Self { bad_for, ..seen })
    }
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lacks_durable {
            return write!(
                f,
                "durable {DURABLE_SOURCE} of {EVENT_STREAM} was removed: provision the topology"
            );
        }
        let Some(progress) = self.progress else {
            let state = if self.is_stalled() { "seems to be stalled" } else { "seems to work" };
            let error = self.error.as_deref().unwrap_or("no error");
            return write!(f, "forwarding {state}, without a proof: lag {}, {error}", self.lag);
        };
        if progress.is_origin_missing {
            return write!(f, "{EVENT_STREAM} does not exist: provision the topology");
        }
        let Progress { proven, behind, behind_for, stalled_for, .. } = progress;
        match (behind_for, stalled_for) {
            (_, Some(stalled)) if self.is_stalled() => {
                write!(f, "forwarding is stalled for {} s", stalled.as_secs())
            }
            // A single look does not know for how long.
            (Some(behind), _) if behind < Duration::from_secs(1) => f.write_str("forwarding is behind"),
            (Some(behind), _) => write!(f, "forwarding is behind for {} s", behind.as_secs()),
            (None, _) => f.write_str("everything is forwarded"),
        }?;
        write!(f, ": {EVENT_STREAM} up to {proven}")?;
        if behind > 0 {
            write!(f, ", at most {behind} are left")?;
        }
        if behind > 0 && self.is_choco_full {
            write!(f, "; {CHOCO_STREAM} is full: raise its limits, or provision the topology")?;
        }
        if self.lacks_flow_control() {
            let [subject, _] = flow_control(EVENT_STREAM);
            write!(f, "; flow control does not arrive: import {subject} into the account of {CHOCO_STREAM}")?;
        }
        Ok(())
    }
}

/// The serialized form.
#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
struct Serialized {
    lag: u64,
    last_activity_seconds: Option<f64>,
    error: Option<String>,
    skips_new_origin: Option<bool>,
    proven_up_to: Option<u64>,
    behind: Option<u64>,
    behind_seconds: Option<f64>,
    is_stalled: bool,
    lacks_flow_control: bool,
    lacks_durable: bool,
    is_choco_full: bool,
}

impl From<Forwarding> for Serialized {
    fn from(forwarding: Forwarding) -> Self {
        let seconds = |duration: Option<Duration>| duration.as_ref().map(Duration::as_secs_f64);
        Self {
            is_stalled: forwarding.is_stalled(),
            lacks_flow_control: forwarding.lacks_flow_control(),
            lacks_durable: forwarding.lacks_durable,
            is_choco_full: forwarding.is_choco_full,
            proven_up_to: forwarding.proven_up_to(),
            behind: forwarding.behind(),
            behind_seconds: seconds(forwarding.behind_for()),
            last_activity_seconds: seconds(forwarding.last_activity),
            lag: forwarding.lag,
            error: forwarding.error,
            skips_new_origin: forwarding.skips_new_origin,
        }
    }
}

#[cfg(test)]
#[path = "forwarding/state_tests.rs"]
mod tests;
