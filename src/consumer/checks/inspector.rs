//! The inspection of what a running consumer depends on: its durable and its permissions.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind, DurableConsumer,
        checks::{difference::differences, overflow, request::denied, requirements::Requirements},
        shared::Shared,
    },
    nats::{
        api::{ApiSubject, is_ack_of},
        api_context::ApiContext,
        connection_watch::{ConnectionWatch, Mark},
        permission_violation::PermissionViolation,
    },
    topology::{DEAD_LETTER_STREAM, StreamInfo},
};
use async_nats::{
    connection::State,
    jetstream::{
        ErrorCode,
        consumer::{Config, Consumer, pull},
        response::Response,
        stream::{ConsumerError, ConsumerErrorKind},
    },
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// The interval between two inspections, unless one is requested.
const EVERY: Duration = Duration::from_secs(5);
/// The pause before a durable that is gone is looked up again.
const AGAIN: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// An inspector, which reads the durable again and again, and ends when the consumer can no longer use it.
#[derive(Debug)]
pub(crate) struct Inspector {
    context: ApiContext,
    shared: Arc<Shared>,
    requirements: Requirements,
    /// The durable when the consumer was built.
    built: Config,
    /// The fields that a warning was logged for.
    warned: HashSet<&'static str>,
    is_paused: bool,
    overflow: overflow::Judge,
}

impl Inspector {
    pub(crate) fn new(consumer: &DurableConsumer) -> Self {
        let shared = Arc::clone(&consumer.shared);
        Self {
            context: consumer.context.clone(),
            requirements: Requirements::new(consumer.feed, &shared.name, &shared.handlers, &shared.options),
            built: consumer.config.clone(),
            warned: HashSet::new(),
            is_paused: false,
            overflow: overflow::Judge::default(),
            shared,
        }
    }

    /// Inspects until the consumer has to stop, and returns why. `inspect_now` asks for an inspection at once.
    pub(crate) async fn inspect(mut self, inspect_now: Arc<Notify>) -> ConsumeError {
        let mut was_gone = false;
        loop {
            let _asked_or_due = timeout(if was_gone { AGAIN } else { EVERY }, inspect_now.notified()).await;
            if self.shared.client.connection_state() != State::Connected {
                continue;
            }
            let info = self.context.get_consumer_from_stream::<pull::Config, _, _>(
                self.shared.name.as_str(),
                self.shared.stream,
            );
            let silent = self.shared.silence.lasting();
            let (answer, ()) = tokio::join!(timeout(ANSWER_WITHIN, info), self.count_letters());
            let found = answer.as_ref().ok().and_then(|answer| answer.as_ref().ok());
            self.overflow.judge(&self.shared, silent, found.map(Consumer::cached_info));
            let (drift, gone) = match answer {
                Ok(Ok(found)) => {
                    let info = found.cached_info();
                    let pause = info.pause_remaining.filter(|_| info.paused);
                    self.shared.state.set_server_info(info.num_pending, info.num_ack_pending, pause);
                    self.note_pause(pause);
                    (self.judge(&info.config), None)
                }
                Ok(Err(error)) => (None, self.gone(&error)),
                // An outage says nothing about the durable.
                Err(_elapsed) => (None, None),
            };
            // Servers that have just elected a leader may not know at once what they have.
            let is_gone = gone.is_some();
            match drift.or_else(|| gone.filter(|_| was_gone)) {
                Some(verdict) => return verdict,
                None => was_gone = is_gone,
            }
        }
    }

    /// Measures how many dead letters there are.
    async fn count_letters(&self) {
        if !self.shared.options.checks_streams {
            return;
        }
        let letters = StreamInfo::ask(&self.context, DEAD_LETTER_STREAM);
        if let Ok(Ok(Response::Ok(info))) = timeout(ANSWER_WITHIN, letters).await {
            self.shared.state.meter.letters(info.state.held.messages);
        }
    }

    /// Logs the beginning and the end of a pause.
    fn note_pause(&mut self, pause: Option<Duration>) {
        let (consumer, was_paused) =
            (&self.shared.name, std::mem::replace(&mut self.is_paused, pause.is_some()));
        match pause {
            Some(remaining) if !was_paused => {
                tracing::warn!(%consumer, ?remaining, "durable is paused: nothing is delivered until the pause ends");
            }
            None if was_paused => tracing::info!(%consumer, "durable is no longer paused"),
            _ => {}
        }
    }

    fn judge(&mut self, found: &Config) -> Option<ConsumeError> {
        let name = &self.shared.name;
        if let Some(violated) = self.requirements.violated_by(found) {
            let message =
                format!("durable {name} was changed while in use and breaks a guarantee: it has {violated}");
            return Some(ConsumeError::new(ConsumeErrorKind::Mismatch, message));
        }
        for difference in differences(&self.built, found) {
            if self.warned.insert(difference.field) {
                let (field, found, wanted) = (difference.field, difference.found, difference.wanted);
                tracing::warn!(consumer = %name, field, found, wanted, "durable was changed while in use");
            }
        }
        None
    }

    fn gone(&self, error: &ConsumerError) -> Option<ConsumeError> {
        let ConsumerErrorKind::JetStream(answer) = error.kind() else { return None };
        if ![ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND].contains(&answer.error_code()) {
            return None;
        }
        let (name, stream) = (&self.shared.name, self.shared.stream);
        let message =
            format!("durable {name} on stream {stream} was deleted while in use: build the consumer again");
        Some(ConsumeError::new(ConsumeErrorKind::ConsumerGone, message).caused_by(answer))
    }
}

/// Waits for the violation of a permission that a consumer needs: for its requests, its acknowledgements or its inbox.
pub(crate) async fn permission_denied(
    context: ApiContext,
    watch: ConnectionWatch,
    since: Mark,
    shared: Arc<Shared>,
) -> ConsumeError {
    let (stream, durable) = (shared.stream, shared.name.as_str());
    let next = ApiSubject::next_messages(stream, durable);
    let is_ours = |violation: &PermissionViolation| {
        context.is_refused(&next, violation)
            || violation.published().is_some_and(|to| is_ack_of(to, stream, durable))
    };
    denied(&watch.violation(since, &shared.client.new_inbox(), is_ours).await)
}
