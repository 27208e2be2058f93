//! The durables of the feeds, as operators see them.

mod error;
mod replay;
mod status;

pub use crate::contract::epoch::Epoch;
pub use error::{DurablesError, DurablesErrorKind};
pub use replay::{Replay, ReplayOptions, Replayed};
pub use status::{Activity, DeliveryState, DurableStatus};

use crate::{
    contract::{consumer_name::ConsumerName, subject::Feed},
    link::Link,
    nats::{api::ApiSubject, api_context::ApiContext},
    publish::Publisher,
};
use async_nats::jetstream::{
    ErrorCode,
    consumer::Info,
    context::{ConsumerInfoError, ConsumerInfoErrorKind},
    response::Response,
};
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{error::Error, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::timeout;

/// The time limit of each operation: a server does not answer a request that the user may not make.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The durables of the feeds, to look at, pause, resume and replay.
///
/// An [operator](crate::acl::OperatorRole) may do all of it.
///
/// ```no_run
/// use stratt_event_bridge::{EventBridge, Feed};
///
/// # async fn example(bridge: EventBridge) -> Result<(), Box<dyn std::error::Error>> {
/// for durable in bridge.durables().list(Feed::Choco).await? {
///     println!("{}: {} pending, {} unanswered", durable.name(), durable.pending(), durable.unanswered());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Durables {
    context: ApiContext,
    publisher: Publisher,
}

#[derive(Debug, Deserialize)]
struct Paused {
    paused: bool,
}

impl Durables {
    pub(crate) fn new(link: &Link) -> Self {
        Self { context: link.context.clone(), publisher: link.publisher.clone() }
    }

    /// Returns the durables of a feed in the order of their names.
    ///
    /// # Errors
    ///
    /// [`StreamNotFound`](DurablesErrorKind::StreamNotFound), or [`Unavailable`](DurablesErrorKind::Unavailable) when
    /// the broker does not answer within 5 s, as it does to a user who may not list them.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn list(&self, feed: Feed) -> Result<Vec<DurableStatus>, DurablesError> {
        let asked = async {
            let stream =
                self.context.get_stream(feed.stream()).await.map_err(|error| match error.kind() {
                    async_nats::jetstream::context::GetStreamErrorKind::JetStream(answer)
                        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        stream_not_found(feed)
                    }
                    _ => not_listed(feed, error),
                })?;
            let found = stream.consumers().try_collect().await;
            let found: Vec<Info> = found.map_err(|error| not_listed(feed, error))?;
            let durables = found.into_iter().filter(|info| info.config.durable_name.is_some());
            let mut durables: Vec<_> = durables.map(|info| DurableStatus::new(feed, info)).collect();
            durables.sort_by(|one, other| one.name().cmp(other.name()));
            Ok(durables)
        };
        timeout(ANSWER_WITHIN, asked).await.map_err(|error| not_listed(feed, error))?
    }

    /// Returns one durable.
    ///
    /// # Errors
    ///
    /// As for [`list`](Self::list), and [`NotFound`](DurablesErrorKind::NotFound).
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn get(&self, feed: Feed, name: &ConsumerName) -> Result<DurableStatus, DurablesError> {
        let asked = async {
            // A handle only: the name says all that is needed.
            let stream = self.context.get_stream_no_info(feed.stream()).await;
            let stream = stream.map_err(|error| unavailable(feed, name, error))?;
            let info = stream.consumer_info(name.as_str()).await;
            info.map_err(|error: ConsumerInfoError| match error.kind() {
                ConsumerInfoErrorKind::NotFound => not_found(feed, name),
                ConsumerInfoErrorKind::StreamNotFound => stream_not_found(feed),
                _ => unavailable(feed, name, error),
            })
        };
        let info = timeout(ANSWER_WITHIN, asked).await.map_err(|error| unavailable(feed, name, error))?;
        info.map(|info| DurableStatus::new(feed, info))
    }

    /// Stops delivering to a durable until a time, and returns whether it is paused now: a time that has passed
    /// resumes it. What was delivered already is handled and answered as usual.
    ///
    /// Needs nats-server 2.11.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and [`Unsupported`](DurablesErrorKind::Unsupported).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether it is paused; pausing it again is harmless.
    pub async fn pause(
        &self,
        feed: Feed,
        name: &ConsumerName,
        until: OffsetDateTime,
    ) -> Result<bool, DurablesError> {
        let until = until.format(&Rfc3339).map_err(|error| {
            let message = "time of the pause cannot be written as RFC 3339: give a year from 0 to 9999";
            DurablesError::new(DurablesErrorKind::Unsupported, message).caused_by(error)
        })?;
        self.ask_to_pause(feed, name, json!({ "pause_until": until })).await
    }

    /// Delivers to a paused durable again, and returns whether it is paused all the same.
    ///
    /// # Errors
    ///
    /// As for [`pause`](Self::pause).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether it is resumed; resuming it again is harmless.
    pub async fn resume(&self, feed: Feed, name: &ConsumerName) -> Result<bool, DurablesError> {
        self.ask_to_pause(feed, name, json!({})).await
    }

    async fn ask_to_pause(
        &self,
        feed: Feed,
        name: &ConsumerName,
        body: Value,
    ) -> Result<bool, DurablesError> {
        if !self.context.client().is_server_compatible(2, 11, 0) {
            let message = "server is too old to pause durables: 2.11 is needed";
            return Err(DurablesError::new(DurablesErrorKind::Unsupported, message));
        }
        let request = ApiSubject::durable_pause(feed.stream(), name.as_str()).request();
        let asked = timeout(ANSWER_WITHIN, self.context.request(request, &body)).await;
        let answer = asked.map_err(|error| unavailable(feed, name, error))?;
        match answer.map_err(|error| unavailable(feed, name, error))? {
            Response::Ok(Paused { paused }) => Ok(paused),
            Response::Err { error } => Err(match error.error_code() {
                ErrorCode::STREAM_NOT_FOUND => stream_not_found(feed),
                ErrorCode::CONSUMER_NOT_FOUND => not_found(feed, name),
                _ => unavailable(feed, name, error),
            }),
        }
    }
}

fn stream_not_found(feed: Feed) -> DurablesError {
    let message = format!("stream {} does not exist: provision the streams first", feed.stream());
    DurablesError::new(DurablesErrorKind::StreamNotFound, message)
}

fn not_found(feed: Feed, name: &ConsumerName) -> DurablesError {
    let message =
        format!("durable {name} of {} does not exist: `strattctl status` lists them", feed.stream());
    DurablesError::new(DurablesErrorKind::NotFound, message)
}

fn not_listed(feed: Feed, error: impl Into<Box<dyn Error + Send + Sync>>) -> DurablesError {
    let message = format!("durables of {} cannot be listed: may this user list them?", feed.stream());
    DurablesError::new(DurablesErrorKind::Unavailable, message).caused_by(error)
}

fn unavailable(
    feed: Feed,
    name: &ConsumerName,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> DurablesError {
    let message = format!("broker did not answer for durable {name} of {}, or refused", feed.stream());
    DurablesError::new(DurablesErrorKind::Unavailable, message).caused_by(error)
}
