//! The durables of a stream, as the broker reports them.

use crate::failure::{Failure, chain};
use futures::TryStreamExt;
use serde::Serialize;
use std::time::Duration;
use stratt_event_bridge::{
    EventBridge, Feed,
    async_nats::jetstream::{ErrorCode, consumer::Info, context::GetStreamErrorKind},
};
use tokio::time::timeout;

/// The time limit of an answer. Without the permission there is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A durable. The names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
pub(crate) struct Durable {
    pub(crate) stream: &'static str,
    pub(crate) name: String,
    pub(crate) pending: u64,
    pub(crate) unanswered: usize,
    pub(crate) redelivered: usize,
    /// The number of requests for messages that wait: 0 if no process is at work.
    pub(crate) waiting: usize,
    /// For how long it stays paused; `null` if it is not.
    pub(crate) paused_seconds: Option<u64>,
    #[serde(skip)]
    pub(crate) filters: Vec<String>,
    #[serde(skip)]
    pub(crate) delivered: u64,
    #[serde(skip)]
    pub(crate) ack_floor: u64,
}

impl Durable {
    fn new(stream: &'static str, info: Info) -> Self {
        let mut filters = info.config.filter_subjects;
        filters.extend(Some(info.config.filter_subject).filter(|filter| !filter.is_empty()));
        Self {
            stream,
            name: info.name,
            pending: info.num_pending,
            unanswered: info.num_ack_pending,
            redelivered: info.num_redelivered,
            waiting: info.num_waiting,
            paused_seconds: info.paused.then(|| info.pause_remaining.unwrap_or_default().as_secs()),
            filters,
            delivered: info.delivered.stream_sequence,
            ack_floor: info.ack_floor.stream_sequence,
        }
    }
}

/// Returns the durables of a feed in the order of their names; `None` if it has no stream.
pub(crate) async fn of(bridge: &EventBridge, feed: Feed) -> Result<Option<Vec<Durable>>, Failure> {
    let asked = async {
        let stream = match bridge.jetstream().get_stream(feed.stream()).await {
            Ok(stream) => stream,
            Err(error) => {
                return match error.kind() {
                    GetStreamErrorKind::JetStream(answer)
                        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(None)
                    }
                    _ => Err(Failure::no_broker(error)),
                };
            }
        };
        let found: Vec<Info> = stream.consumers().try_collect().await.map_err(Failure::no_broker)?;
        let durables = found.into_iter().filter(|info| info.config.durable_name.is_some());
        let mut durables: Vec<_> = durables.map(|info| Durable::new(feed.stream(), info)).collect();
        durables.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Some(durables))
    };
    let late = |error| {
        let why = chain(&error);
        let feed = feed.stream();
        Failure::no_broker(format!(
            "durables of {feed} cannot be listed: {why}: may this user list consumers?"
        ))
    };
    timeout(ANSWER_WITHIN, asked).await.map_err(late)?
}
