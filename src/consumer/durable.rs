//! The durable on the server: created, kept, updated, or reported as a mismatch.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind, ConsumerOptions, OnMismatch, Order,
        checks::{
            difference::{differences, merged},
            request::ApiRequest,
            requirements::Requirements,
        },
        receive::pinned::PRIORITY_GROUP,
    },
    contract::consumer_name::ConsumerName,
    nats::{account_limit, api::ApiSubject, config_diff::ConfigDifference},
};
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, Config, FromConsumer, IntoConsumerConfig, PriorityPolicy, ReplayPolicy, pull},
    context::ConsumerInfoErrorKind,
    stream::{ConsumerCreateStrictErrorKind, ConsumerUpdateErrorKind, Stream},
};
use std::time::Duration;

/// The limit of unanswered messages at the server. Retries wait there without blocking others, up to this many.
pub(super) const MAX_ACK_PENDING: usize = 250_000;

/// A durable by its name, which may not exist yet.
#[derive(Debug)]
pub(super) struct Durable<'a> {
    api: &'a ApiRequest,
    stream: Stream<()>,
    stream_name: &'a str,
    name: &'a ConsumerName,
}

impl<'a> Durable<'a> {
    pub(super) async fn new(
        api: &'a ApiRequest,
        stream_name: &'a str,
        name: &'a ConsumerName,
    ) -> Result<Self, ConsumeError> {
        // A handle only: a user may lack the permission to look at the stream.
        let stream = api.context.get_stream_no_info(stream_name).await;
        let stream = stream.map_err(|error| {
            ConsumeError::new(ConsumeErrorKind::Unavailable, "stream has no valid name").caused_by(error)
        })?;
        Ok(Self { api, stream, stream_name, name })
    }

    /// Creates the durable if it does not exist, and treats one that differs as the options say. Returns its
    /// configuration.
    pub(super) async fn ensure(
        &self,
        filters: Vec<String>,
        options: &ConsumerOptions,
        requirements: &Requirements,
    ) -> Result<Config, ConsumeError> {
        let wanted = wanted(self.name, filters, options);
        let goal = wanted.clone().into_consumer_config();
        let found = match self.read().await? {
            Some(found) => found,
            None => self.create(wanted).await?,
        };
        let difference = differences(&goal, &found).next();
        let found = match (options.on_mismatch, difference) {
            (_, None) | (OnMismatch::Keep, _) => found,
            (_, Some(difference)) if difference.is_immutable => {
                let advice = ", and the server cannot change that: use another name or delete it";
                return Err(self.mismatch(ConsumeErrorKind::Conflict, &difference, advice));
            }
            (OnMismatch::Fail, Some(difference)) => {
                let advice = ": change one of them, or choose another `OnMismatch` in the options";
                return Err(self.mismatch(ConsumeErrorKind::Mismatch, &difference, advice));
            }
            (OnMismatch::Update, Some(_)) => self.update(&goal, found).await?,
        };
        match requirements.violated_by(&found) {
            None => Ok(found),
            Some(violated) => {
                let advice = ", without which the guarantees do not hold: change it";
                Err(self.mismatch(ConsumeErrorKind::Mismatch, &violated, advice))
            }
        }
    }

    async fn read(&self) -> Result<Option<Config>, ConsumeError> {
        let request = self.stream.consumer_info(self.name.as_str());
        match self.api.ask(&ApiSubject::durable_info(self.stream_name, self.name.as_str()), request).await? {
            Ok(info) => Ok(Some(info.config)),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ConsumerInfoErrorKind::StreamNotFound => {
                let message =
                    format!("stream {} does not exist: provision the topology first", self.stream_name);
                Err(ConsumeError::new(ConsumeErrorKind::StreamNotFound, message))
            }
            Err(error) => Err(self.failed("looked up", error)),
        }
    }

    async fn create(&self, wanted: pull::Config) -> Result<Config, ConsumeError> {
        let request = self.stream.create_consumer_strict(wanted);
        match self.api.ask(&ApiSubject::durable_create(self.stream_name, self.name.as_str()), request).await?
        {
            Ok(created) => Ok(created.cached_info().config.clone()),
            // Another process was faster, perhaps with other settings.
            Err(error) if matches!(error.kind(), ConsumerCreateStrictErrorKind::AlreadyExists) => {
                self.read().await?.ok_or_else(|| self.failed("read", error))
            }
            Err(error) => Err(match error.kind() {
                ConsumerCreateStrictErrorKind::JetStream(answer) => self.denied("created", answer),
                _ => self.failed("created", error),
            }),
        }
    }

    async fn update(&self, goal: &Config, found: Config) -> Result<Config, ConsumeError> {
        let merged = pull::Config::try_from_consumer_config(merged(goal, found))
            .map_err(|error| self.failed("updated", error))?;
        let request = self.stream.update_consumer(merged);
        let updated =
            self.api.ask(&ApiSubject::durable_create(self.stream_name, self.name.as_str()), request).await?;
        let updated = updated.map_err(|error| match error.kind() {
            ConsumerUpdateErrorKind::JetStream(answer) => self.denied("updated", answer),
            _ => self.failed("updated", error),
        })?;
        let updated = updated.cached_info().config.clone();
        // An old server answers "ok" and ignores what it does not know.
        if let Some(left) = differences(goal, &updated).next() {
            let advice = ", although it was changed: is the server older than 2.10?";
            return Err(self.mismatch(ConsumeErrorKind::UnsupportedServer, &left, advice));
        }
        tracing::info!(consumer = %self.name, "durable was updated");
        Ok(updated)
    }

    fn mismatch(&self, kind: ConsumeErrorKind, difference: &ConfigDifference, advice: &str) -> ConsumeError {
        ConsumeError::new(kind, format!("durable {} has {difference}{advice}", self.name))
    }

    fn denied(&self, verb: &str, answer: jetstream::Error) -> ConsumeError {
        if !account_limit::is_reached(&answer) {
            return self.failed(verb, answer);
        }
        let message = format!(
            "durable {} cannot be {verb}: a limit of the account or the stream is reached",
            self.name
        );
        ConsumeError::new(ConsumeErrorKind::LimitReached, message).caused_by(answer)
    }

    fn failed(&self, verb: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConsumeError {
        let message = format!("durable {} cannot be {verb}", self.name);
        ConsumeError::new(ConsumeErrorKind::Unavailable, message).caused_by(error)
    }
}

fn wanted(name: &ConsumerName, mut filters: Vec<String>, options: &ConsumerOptions) -> pull::Config {
    // A single filter has a field of its own, which permissions can be pinned to.
    let is_ordered = options.order == Order::PerUnit;
    let least = if is_ordered { 0 } else { MAX_ACK_PENDING };
    let max_ack_pending = options.max_in_flight.max(least);
    let filter_subject = if filters.len() == 1 { filters.pop() } else { None };
    pull::Config {
        durable_name: Some(name.to_string()),
        // Checked with the options.
        deliver_policy: options.start_at.deliver_policy().unwrap_or_default(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait(),
        // Never more than once would strand a message: exhaustion is decided by `decide.rs`.
        max_deliver: -1,
        filter_subject: filter_subject.unwrap_or_default(),
        filter_subjects: filters,
        replay_policy: ReplayPolicy::Instant,
        max_ack_pending: i64::try_from(max_ack_pending).unwrap_or(i64::MAX),
        priority_policy: if is_ordered { PriorityPolicy::PinnedClient } else { PriorityPolicy::None },
        priority_groups: is_ordered.then(|| PRIORITY_GROUP.to_owned()).into_iter().collect(),
        priority_timeout: if is_ordered { options.ack_wait() } else { Duration::ZERO },
        ..pull::Config::default()
    }
}
