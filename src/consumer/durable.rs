//! The durable on the server: created, brought up to date, or refused.

use super::{ConsumeError, ConsumeErrorKind, ConsumerOptions, DurableConsumer, Order, takeover::GROUP};
use crate::consumer_name::ConsumerName;
use async_nats::jetstream::{
    self, Context, ErrorCode,
    consumer::{AckPolicy, Config, FromConsumer, IntoConsumerConfig, PriorityPolicy, ReplayPolicy, pull},
    context::{ConsumerInfoErrorKind, GetStreamErrorKind},
    stream::{self, ConsumerErrorKind},
};
use std::time::Duration;

/// Retries wait here on the server without blocking others, up to this many.
const MAX_ACK_PENDING: i64 = 10_000;

/// The stream, with what it was configured as.
pub(super) async fn find_stream(context: &Context, name: &str) -> Result<stream::Stream, ConsumeError> {
    context.get_stream(name).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            let message = format!("stream {name} does not exist: provision the topology first");
            ConsumeError::new(ConsumeErrorKind::StreamNotFound, message)
        }
        _ => unavailable(format!("stream {name} cannot be looked up"), error),
    })
}

/// Creates the durable, or brings it up to date where the server allows that.
pub(super) async fn ensure(
    stream: &stream::Stream,
    name: &ConsumerName,
    filters: Vec<String>,
    options: &ConsumerOptions,
) -> Result<(), ConsumeError> {
    let found = match stream.consumer_info(name.as_str()).await {
        Ok(info) => info.config,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            match stream.create_consumer_strict(wanted(name, filters.clone(), options)).await {
                Ok(created) => created.cached_info().config.clone(),
                // Another process was faster, perhaps with other settings.
                Err(error)
                    if matches!(
                        error.kind(),
                        jetstream::stream::ConsumerCreateStrictErrorKind::AlreadyExists
                    ) =>
                {
                    stream
                        .consumer_info(name.as_str())
                        .await
                        .map_err(|e| unavailable(cannot(name, "read"), e))?
                        .config
                }
                Err(error) => return Err(unavailable(cannot(name, "created"), error)),
            }
        }
        Err(error) => return Err(unavailable(cannot(name, "looked up"), error)),
    };
    let goal = wanted(name, filters, options).into_consumer_config();
    if let Some((field, found, wanted)) = fixed_difference(&found, &goal) {
        let message = format!(
            "durable {name} has {field} {found}, wanted {wanted}, and the server cannot change that: use another name or delete it"
        );
        return Err(ConsumeError::new(ConsumeErrorKind::Conflict, message));
    }
    if changeable(&found) != changeable(&goal) {
        update(stream, name, found, goal).await?;
    }
    Ok(())
}

async fn update(
    stream: &stream::Stream,
    name: &ConsumerName,
    found: Config,
    goal: Config,
) -> Result<(), ConsumeError> {
    // What is not ours, such as a description or replicas, stays as it is.
    let merged = Config {
        ack_wait: goal.ack_wait,
        max_deliver: goal.max_deliver,
        filter_subject: goal.filter_subject.clone(),
        filter_subjects: goal.filter_subjects.clone(),
        max_ack_pending: goal.max_ack_pending,
        priority_timeout: goal.priority_timeout,
        headers_only: false,
        backoff: Vec::new(),
        ..found
    };
    let merged = pull::Config::try_from_consumer_config(merged)
        .map_err(|error| unavailable(cannot(name, "updated"), error))?;
    let updated =
        stream.update_consumer(merged).await.map_err(|error| unavailable(cannot(name, "updated"), error))?;
    // An old server answers "ok" and ignores what it does not know.
    if changeable(&updated.cached_info().config) != changeable(&goal) {
        let message = format!("durable {name} was not changed as wanted: is the server older than 2.10?");
        return Err(ConsumeError::new(ConsumeErrorKind::UnsupportedServer, message));
    }
    tracing::info!(consumer = %name, "durable is brought up to date");
    Ok(())
}

fn wanted(name: &ConsumerName, mut filters: Vec<String>, options: &ConsumerOptions) -> pull::Config {
    // A single filter has a field of its own, which permissions can be pinned to.
    let is_ordered = options.order == Order::PerUnit;
    let max_in_flight = i64::try_from(options.max_in_flight).unwrap_or(i64::MAX);
    let filter_subject = if filters.len() == 1 { filters.pop() } else { None };
    pull::Config {
        durable_name: Some(name.to_string()),
        deliver_policy: options.deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait(),
        // Never more than once would strand a message: exhaustion is decided by `decide.rs`.
        max_deliver: -1,
        filter_subject: filter_subject.unwrap_or_default(),
        filter_subjects: filters,
        replay_policy: ReplayPolicy::Instant,
        max_ack_pending: if is_ordered { max_in_flight } else { MAX_ACK_PENDING.max(max_in_flight) },
        priority_policy: if is_ordered { PriorityPolicy::PinnedClient } else { PriorityPolicy::None },
        priority_groups: is_ordered.then(|| GROUP.to_owned()).into_iter().collect(),
        priority_timeout: if is_ordered { options.ack_wait() } else { Duration::ZERO },
        ..pull::Config::default()
    }
}

/// The first difference that the server cannot change: field, found, wanted.
fn fixed_difference(found: &Config, goal: &Config) -> Option<(&'static str, String, String)> {
    let fields = [
        ("deliver subject", format!("{:?}", found.deliver_subject), format!("{:?}", goal.deliver_subject)),
        ("deliver policy", format!("{:?}", found.deliver_policy), format!("{:?}", goal.deliver_policy)),
        ("ack policy", format!("{:?}", found.ack_policy), format!("{:?}", goal.ack_policy)),
        ("priority policy", format!("{:?}", found.priority_policy), format!("{:?}", goal.priority_policy)),
        ("replay policy", format!("{:?}", found.replay_policy), format!("{:?}", goal.replay_policy)),
    ];
    fields.into_iter().find(|(_, found, wanted)| found != wanted)
}

#[derive(PartialEq)]
struct Changeable {
    ack_wait: Duration,
    max_deliver: i64,
    filters: Vec<String>,
    max_ack_pending: i64,
    priority_timeout: Duration,
    headers_only: bool,
    backoff: Vec<Duration>,
}

fn changeable(config: &Config) -> Changeable {
    let mut filters = config.filter_subjects.clone();
    if !config.filter_subject.is_empty() {
        filters.push(config.filter_subject.clone());
    }
    filters.sort();
    Changeable {
        ack_wait: config.ack_wait,
        max_deliver: config.max_deliver,
        filters,
        max_ack_pending: config.max_ack_pending,
        priority_timeout: config.priority_timeout,
        headers_only: config.headers_only,
        backoff: config.backoff.clone(),
    }
}

/// `Err` if the server says that the durable or its stream is gone; an outage is not that.
pub(super) async fn must_exist(consumer: &DurableConsumer) -> Result<(), ConsumeError> {
    let (stream, name) = (consumer.feed.stream(), &consumer.shared.name);
    let info = consumer.context.get_consumer_from_stream::<pull::Config, _, _>(name.as_str(), stream);
    let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(2), info).await else { return Ok(()) };
    match error.kind() {
        ConsumerErrorKind::JetStream(answer)
            if [ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND]
                .contains(&answer.error_code()) =>
        {
            let message = format!("durable {name} on stream {stream} was deleted while it was in use");
            Err(ConsumeError::new(ConsumeErrorKind::ConsumerGone, message).caused_by(answer))
        }
        _ => Ok(()),
    }
}

fn cannot(name: &ConsumerName, verb: &str) -> String {
    format!("durable {name} cannot be {verb}")
}

fn unavailable(message: String, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConsumeError {
    ConsumeError::new(ConsumeErrorKind::Unavailable, message).caused_by(error)
}
