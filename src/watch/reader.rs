//! The place of a watch in its stream, across temporary consumers.

use crate::{
    consumer::StartAt,
    contract::{envelope::Envelope, subject::Feed},
    jitter::spread,
    link::Link,
    nats::{ack_subject::AckSubject, api::ApiSubject, permission_violation::PermissionViolation},
    report::report,
    telemetry::log_limit::{LogLimit, limited},
    topology::StreamInfo,
    watch::{
        WatchError, WatchErrorKind, WatchFrom, WatchOptions, WatchedEvent,
        temporary::{Loss, Temporary},
        unreadable::Unreadable,
    },
};
use async_nats::{
    Message,
    jetstream::{
        ErrorCode,
        consumer::{AckPolicy, pull},
        response::Response,
    },
};
use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

/// The time limit of each request.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The pause after the first failure to go on, which doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Reader {
    link: Arc<Link>,
    feed: Feed,
    options: WatchOptions,
    name: String,
    filters: Vec<String>,
    /// Where the next temporary consumer begins.
    start: StartAt,
    /// When the stream was created, and its last sequence, as far as known.
    stream: Option<(OffsetDateTime, u64)>,
    temporary: Option<Temporary>,
    /// Events and errors that are yielded before the next message.
    queued: VecDeque<Result<WatchedEvent, WatchError>>,
    /// The connection was lost before the temporary consumer delivered anything: the next event may be the cause.
    is_cut: bool,
    has_received: bool,
    failures: u32,
    /// The last failure to go on that was yielded.
    reported: Option<WatchErrorKind>,
    has_ended: bool,
    lines: LogLimit,
}

impl Reader {
    pub(super) fn new(link: &Arc<Link>, feed: Feed, options: WatchOptions) -> Self {
        let name = options.consumer_name();
        Self {
            link: Arc::clone(link),
            feed,
            filters: options.filters(feed),
            start: options.from.start_at(),
            lines: LogLimit::new(&name),
            options,
            name,
            stream: None,
            temporary: None,
            queued: VecDeque::new(),
            is_cut: false,
            has_received: false,
            failures: 0,
            reported: None,
            has_ended: false,
        }
    }

    /// Returns the next event, or the error in its place; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<WatchedEvent, WatchError>> {
        loop {
            if let Some(queued) = self.queued.pop_front() {
                return Some(queued);
            }
            if self.has_ended {
                return None;
            }
            let Some(temporary) = &mut self.temporary else {
                self.go_on().await;
                continue;
            };
            match temporary.next().await {
                Ok((message, ack)) => self.receive(&message, ack),
                Err(Loss::Closed) => self.end(),
                Err(loss) => self.lose(loss),
            }
        }
    }

    fn receive(&mut self, message: &Message, ack: AckSubject) {
        let AckSubject { sequence, stored_at, .. } = ack;
        (self.has_received, self.failures) = (true, 0);
        if let StartAt::Sequence(next) = self.start
            && sequence < next
        {
            return;
        }
        self.passed(sequence);
        let decoded =
            Envelope::decode_at_most(self.options.max_envelope_bytes, &message.subject, &message.payload);
        let stored_at = OffsetDateTime::UNIX_EPOCH + stored_at;
        self.queued.push_back(match decoded {
            Ok(envelope) => Ok(WatchedEvent { envelope, sequence, stored_at }),
            Err(error) => Err(WatchError::of_event(sequence, &message.subject, Ok(error))),
        });
    }

    /// Notes that the watch goes on behind this sequence.
    fn passed(&mut self, sequence: u64) {
        self.start = StartAt::Sequence(sequence + 1);
        if let Some((_, last)) = &mut self.stream {
            *last = sequence.max(*last);
        }
    }

    fn lose(&mut self, loss: Loss) {
        tracing::debug!(watch = self.name, ?loss, start = ?self.start, "watch makes another temporary consumer");
        self.is_cut = loss == Loss::Reconnected && !self.has_received;
        self.temporary = None;
    }

    fn end(&mut self) {
        self.has_ended = true;
        let message = "connection is closed: open another watch on a new one";
        self.queued.push_back(Err(WatchError::new(WatchErrorKind::Closed, message)));
    }

    /// Goes on where the watch was, or waits a moment.
    async fn go_on(&mut self) {
        let Err(error) = self.attach().await else {
            (self.failures, self.reported) = (0, None);
            return;
        };
        let kind = error.kind();
        limited!(self.lines, warn, "watch cannot go on yet", feed = %self.feed, error = %report(&error));
        if kind == WatchErrorKind::Closed {
            self.end();
        } else if kind != WatchErrorKind::Unavailable && self.reported.replace(kind) != Some(kind) {
            self.queued.push_back(Err(error));
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        sleep(spread(pause)).await;
    }

    /// Makes a temporary consumer that begins where the watch is.
    pub(super) async fn attach(&mut self) -> Result<(), WatchError> {
        self.look_at_stream().await?;
        if self.is_cut {
            self.pass_unreadable().await?;
        }
        let (context, stream, name) = (&self.link.context, self.feed.stream(), self.name.as_str());
        // One of the same name may be left, and the server cannot change where it begins.
        let deleted = context.delete_consumer_from_stream(name, stream);
        // That there is none is as good.
        let _ = self.ask(&ApiSubject::durable_delete(stream, name), deleted).await?;
        let created = context.create_consumer_on_stream(self.settings()?, stream);
        let created = self.ask(&ApiSubject::durable_create(stream, name), created).await?;
        let created = created.map_err(|error| unavailable("temporary consumer cannot be created", error))?;
        if !matches!(self.start, StartAt::Sequence(_)) {
            self.start = StartAt::Sequence(created.cached_info().delivered.stream_sequence + 1);
        }
        let temporary = Temporary::open(context, stream, name).await;
        let closed = |_| WatchError::new(WatchErrorKind::Closed, WatchErrorKind::Closed.words());
        self.temporary = Some(temporary.map_err(closed)?);
        (self.is_cut, self.has_received) = (false, false);
        Ok(())
    }

    fn settings(&self) -> Result<pull::Config, WatchError> {
        let invalid =
            || WatchError::new(WatchErrorKind::InvalidOptions, WatchErrorKind::InvalidOptions.words());
        Ok(pull::Config {
            name: Some(self.name.clone()),
            deliver_policy: self.start.deliver_policy().ok_or_else(invalid)?,
            ack_policy: AckPolicy::None,
            filter_subjects: self.filters.clone(),
            inactive_threshold: self.options.inactive_threshold,
            // It is made again when it is lost.
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        })
    }

    /// Compares the stream with what it was: whether it is the same one, and still has what comes next.
    async fn look_at_stream(&mut self) -> Result<(), WatchError> {
        let name = self.feed.stream();
        let asked = StreamInfo::ask(&self.link.context, name);
        let info = match self.ask(&ApiSubject::stream_info(name), asked).await? {
            Ok(Response::Ok(info)) => info,
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                let message = format!("stream {name} does not exist: provision the topology first");
                return Err(WatchError::new(WatchErrorKind::StreamNotFound, message));
            }
            Ok(Response::Err { error }) => return Err(unavailable("stream cannot be looked up", error)),
            Err(error) => return Err(unavailable("stream cannot be looked up", error)),
        };
        let created = info.created().map_err(|error| unavailable("stream has no time of creation", error))?;
        let (first, last) = (info.state.held.first_sequence, info.state.held.last_sequence);
        match self.stream.replace((created, last)) {
            Some((before, _)) if before != created => {
                self.start = StartAt::All;
                self.report_recreated(format!(
                    "stream {name} was recreated: what the watch had not received of the former one is gone"
                ));
            }
            Some((_, before)) if last < before => {
                self.start = StartAt::Sequence(last + 1);
                self.report_recreated(format!(
                    "stream {name} has lost its end: it was at sequence {before} and is at {last}"
                ));
            }
            None if self.options.from == WatchFrom::Now => self.start = StartAt::Sequence(last + 1),
            _ => {}
        }
        if let StartAt::Sequence(next) = self.start
            && next < first
        {
            self.start = StartAt::Sequence(first);
            let message = format!(
                "stream {name} removed the events at sequences {next} to {} before the watch received them",
                first - 1
            );
            self.queued.push_back(Err(WatchError::new(WatchErrorKind::Removed, message)));
        }
        Ok(())
    }

    fn report_recreated(&mut self, message: String) {
        self.queued.push_back(Err(WatchError::new(WatchErrorKind::Recreated, message)));
    }

    /// Passes over the events that the client library cannot read, since they cut the connection at each delivery.
    async fn pass_unreadable(&mut self) -> Result<(), WatchError> {
        let stream = self.feed.stream();
        while let StartAt::Sequence(from) = self.start {
            let found = Unreadable::next(&self.link.context, stream, from, &self.filters);
            let found = self.ask(&ApiSubject::message_get(stream), found).await?;
            let Some(found) = found.map_err(|error| unavailable("event cannot be read", error))? else {
                return Ok(());
            };
            let Unreadable { sequence, subject, why } = found;
            self.passed(sequence);
            self.queued.push_back(Err(WatchError::of_event(sequence, &subject, Err(why))));
        }
        Ok(())
    }

    /// Makes a request; a permission violation is reported as such.
    async fn ask<T>(&self, subject: &ApiSubject, request: impl Future<Output = T>) -> Result<T, WatchError> {
        let Link { context, client, watch, .. } = &*self.link;
        let is_ours = |violation: &PermissionViolation| context.is_refused(subject, violation);
        let answer = pin!(timeout(ANSWER_WITHIN, request));
        match watch.guard(watch.now(), &client.new_inbox(), is_ours, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                let message =
                    format!("broker did not answer {} within {ANSWER_WITHIN:?}", context.subject(subject));
                let error = WatchError::new(WatchErrorKind::Unavailable, message);
                Err(match watch.disconnected(client) {
                    Some(why) => error.caused_by(why),
                    None => error,
                })
            }
            Err(violation) => {
                let message = format!("the user of this connection may not {violation}: allow it");
                Err(WatchError::new(WatchErrorKind::PermissionDenied, message))
            }
        }
    }
}

fn unavailable(what: &'static str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WatchError {
    WatchError::new(WatchErrorKind::Unavailable, what).caused_by(error)
}
