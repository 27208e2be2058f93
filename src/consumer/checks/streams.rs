//! The check that the streams that a consumer depends on exist, and are fit for the guarantees.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind, ConsumerOptions,
        checks::{
            fitness::{forgets_first, takes_no_dead_letter, unfit, written},
            request::ApiRequest,
        },
        delivery::process::DEAD_LETTER_BUDGET,
    },
    contract::{consumer_name::ConsumerName, subject::Feed},
    dedupe::DedupeStore,
    nats::api::ApiSubject,
    topology::DEAD_LETTER_STREAM,
};
use async_nats::jetstream::{ErrorCode, context::GetStreamErrorKind, stream::Config};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// The time after which a server that has not answered is asked something else.
const SILENCE: Duration = Duration::from_millis(1500);
const SECOND_ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// The facts about the stream of events that the consumer relies on.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The age at which events are removed, if it is limited.
    pub(crate) max_age: Option<Duration>,
    /// The number of replicas; zero if the stream was not checked.
    pub(crate) replicas: usize,
}

/// Reads both streams and checks that they are fit.
pub(crate) async fn check(
    api: &ApiRequest,
    name: &ConsumerName,
    feed: Feed,
    store: &Arc<dyn DedupeStore>,
    options: &ConsumerOptions,
    retry_budget: Duration,
) -> Result<Checked, ConsumeError> {
    let events = find(api, name, feed.stream()).await?;
    must_fit(unfit(&events))?;
    check_retention(store, options, &events)?;
    let dead_letters = find(api, name, DEAD_LETTER_STREAM).await?;
    must_fit(unfit(&dead_letters))?;
    // Events are published and redriven to this feed only.
    let unfit = if feed == Feed::Strat { written(&events, retry_budget) } else { None };
    must_fit(unfit.or_else(|| written(&dead_letters, DEAD_LETTER_BUDGET)))?;
    must_fit(takes_no_dead_letter(&dead_letters).or_else(|| forgets_first(&events, &dead_letters)))?;
    let max_age = (!events.max_age.is_zero()).then_some(events.max_age);
    Ok(Checked { max_age, replicas: events.num_replicas })
}

fn must_fit(problem: Option<String>) -> Result<(), ConsumeError> {
    problem.map_or(Ok(()), |problem| Err(ConsumeError::new(ConsumeErrorKind::UnfitStream, problem)))
}

async fn find(api: &ApiRequest, name: &ConsumerName, stream: &str) -> Result<Config, ConsumeError> {
    let subject = ApiSubject::stream_info(stream);
    let answer = api.ask(&subject, api.context.get_stream(stream));
    let answer = tokio::select! {
        answer = answer => answer.map_err(|error| error.advised("build with `with_stream_checks(false)`"))?,
        () = answers_only_others(api, name, stream) => {
            let subject = api.context.subject(&subject);
            let message = format!(
                "server answers, but not to {subject}: allow this user to publish to it or build with \
                 `with_stream_checks(false)`; or {stream} has no leader"
            );
            return Err(ConsumeError::new(ConsumeErrorKind::Unavailable, message));
        }
    };
    let error = match answer {
        Ok(found) => return Ok(found.cached_info().config.clone()),
        Err(error) => error,
    };
    Err(match error.kind() {
        GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            let message = format!("stream {stream} does not exist: provision the topology first");
            ConsumeError::new(ConsumeErrorKind::StreamNotFound, message)
        }
        _ => {
            let message = format!("stream {stream} cannot be looked up");
            ConsumeError::new(ConsumeErrorKind::Unavailable, message).caused_by(error)
        }
    })
}

/// Ends when the server answers another request. Without a watch, which would report a missing permission, it shows
/// that the server is not away.
async fn answers_only_others(api: &ApiRequest, name: &ConsumerName, stream: &str) {
    sleep(SILENCE).await;
    let request = api.context.request(ApiSubject::durable_info(stream, name.as_str()).request(), &());
    let answers = timeout(SECOND_ANSWER_WITHIN, request).await;
    if api.watch.is_wired() || !matches!(answers, Ok(Ok(serde_json::Value::Object(_)))) {
        std::future::pending::<()>().await;
    }
}

/// Checks that the store does not forget before the stream does, since an old event could then be handled again.
fn check_retention(
    store: &Arc<dyn DedupeStore>,
    options: &ConsumerOptions,
    events: &Config,
) -> Result<(), ConsumeError> {
    let Some(retention) = store.retention() else { return Ok(()) };
    if retention >= age(events) || options.allows_short_store_retention {
        return Ok(());
    }
    let message = format!(
        "dedupe store remembers for {retention:?} but {} keeps events {}: lengthen the store's retention, or allow \
         it with `with_short_store_retention(true)`",
        events.name,
        kept(events)
    );
    Err(ConsumeError::new(ConsumeErrorKind::StoreRetention, message))
}

/// Returns the age that messages reach; without limit if the setting is zero.
pub(crate) fn age(stream: &Config) -> Duration {
    if stream.max_age.is_zero() { Duration::MAX } else { stream.max_age }
}

pub(crate) fn kept(stream: &Config) -> String {
    if stream.max_age.is_zero() { "without limit".to_owned() } else { format!("for {:?}", stream.max_age) }
}
