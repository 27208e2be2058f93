//! Dead letters for consumers that file none themselves.

mod advisory;
mod error;
mod stored_event;
mod summary;

pub use error::{SweepError, SweepErrorKind};
pub use summary::SweepSummary;

use crate::{
    contract::subject::Feed,
    dead_letter::{DeadLetterReason, DeadLetterRecord, Headers},
    link::Link,
    publish::Publisher,
    report::report,
    telemetry::log_limit::{LogLimit, limited},
    topology::{
        ADVISORY_STREAM, StreamSettings, TopologyError, TopologyErrorKind, advisory_subjects, check_version,
        provision_advisories,
    },
};
use advisory::Advisory;
use async_nats::{
    Client,
    jetstream::{
        self, AckKind, ErrorCode, Message,
        consumer::{AckPolicy, Consumer, pull},
        stream::ConsumerErrorKind,
    },
};
use futures::StreamExt;
use std::{error::Error, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the server keeps a request for an advisory open; so long a shutdown waits for what is on its way.
const EXPIRES: Duration = Duration::from_secs(1);
/// How long a shutdown waits for the broker at most.
const AFTER_SHUTDOWN: Duration = Duration::from_secs(5);
/// How long the storing of a dead letter may take: less than the ack wait, so that two sweepers seldom do the same.
const STORE_WITHIN: Duration = Duration::from_secs(15);
/// Far below the duplicate window of the dead letters, so that what a repeat stores is dropped.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Before something is tried again that failed.
const PAUSE: Duration = Duration::from_secs(1);
const POSTPONE: Duration = Duration::from_secs(5);

/// Files the dead letters of consumers that were not written with this crate.
///
/// A plain consumer of JetStream with a limit of deliveries, or one that terminates events, leaves them in the stream,
/// where nobody looks. The server says so once, in an advisory. A sweeper reads these advisories from a stream of their
/// own and files each event under `stratt.dlq.{consumer}.{domain}.{event-type}`, with the original bytes and the headers
/// and message id that consumers of this crate use. It files none for those: their durables have no limit of
/// deliveries, and their terminations say that the letter is filed.
///
/// Any number of sweepers may run for one feed; they share the work. What a sweeper cannot know is listed in
/// [`docs::dead_letters`](crate::docs::dead_letters).
///
/// ```no_run
/// use stratt_event_bridge::{EventBridge, Feed, topology::StreamSettings};
///
/// # async fn example(bridge: EventBridge) -> Result<(), Box<dyn std::error::Error>> {
/// let sweeper = bridge.sweeper(Feed::Choco);
/// sweeper.provision(&StreamSettings::default()).await?;
/// let summary = sweeper.run(std::future::pending()).await?;
/// println!("{} exhausted, {} rejected, {} gone", summary.exhausted, summary.rejected, summary.gone);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sweeper {
    client: Client,
    context: jetstream::Context,
    publisher: Publisher,
    feed: Feed,
    lines: Arc<LogLimit>,
}

impl Sweeper {
    pub(crate) fn new(link: &Link, feed: Feed) -> Self {
        let (client, context) = (link.client.clone(), link.context());
        let lines = Arc::new(LogLimit::new(format!("sweeper of {}", feed.stream())));
        Self { client, context, publisher: link.publisher.clone(), feed, lines }
    }

    /// Creates the stream of advisories, `STRATT_ADVISORIES`, for both feeds, or changes what differs. From then on the
    /// server keeps what it says, whether or not a sweeper runs. Set its age to that of the events, its replicas too.
    ///
    /// # Errors
    ///
    /// A [`TopologyError`] as for [`EventBridge::provision`](crate::EventBridge::provision).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the stream created; provisioning again is harmless.
    pub async fn provision(&self, settings: &StreamSettings) -> Result<(), TopologyError> {
        provision_advisories(&self.client, settings).await
    }

    /// Files dead letters until `shutdown` resolves. An outage of the broker ends nothing. Ends within 2 s of
    /// `shutdown`, unless the broker is slow or does not answer: then within 5 s, and what was begun comes again.
    ///
    /// # Errors
    ///
    /// A [`SweepError`] when the server is too old, when the stream of advisories does not exist or is deleted, when the
    /// broker refuses, or does not answer at the start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a dead letter stored whose advisory is not acknowledged: it comes again after 30 s,
    /// and the broker drops the repeat. Nothing is lost.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<SweepSummary, SweepError> {
        check_version(&self.client).map_err(|error| {
            let kind = match error.kind() {
                TopologyErrorKind::UnsupportedServer => SweepErrorKind::UnsupportedServer,
                _ => SweepErrorKind::Unavailable,
            };
            SweepError::new(kind, error.to_string())
        })?;
        let mut summary = SweepSummary::default();
        let stop = CancellationToken::new();
        let ended = {
            let mut sweeping = std::pin::pin!(self.sweep_until(&stop, &mut summary));
            tokio::select! {
                ended = &mut sweeping => Some(ended),
                () = shutdown => {
                    stop.cancel();
                    // A connection that is away, or has no room for a command, must not keep the service from ending.
                    timeout(AFTER_SHUTDOWN, sweeping).await.ok()
                }
            }
        };
        if let Some(ended) = ended {
            ended?;
        } else {
            tracing::warn!("sweeper could not end what it had begun; that comes again");
        }
        Ok(summary)
    }

    async fn sweep_until(
        &self,
        stop: &CancellationToken,
        summary: &mut SweepSummary,
    ) -> Result<(), SweepError> {
        let Some(durable) = stop.run_until_cancelled(self.durable()).await else { return Ok(()) };
        let mut durable = durable?;
        while !stop.is_cancelled() {
            self.lines.report();
            // Not dropped when it is to stop: what is on its way would be nobody's until the ack wait is over.
            match next(&durable).await {
                Ok(Some(message)) => self.sweep(&message, summary).await,
                Ok(None) => {}
                Err(error) => {
                    limited!(self.lines, warn, "sweeper could not ask for advisories", error);
                    let found = async {
                        sleep(PAUSE).await;
                        self.found_again(&mut durable).await
                    };
                    stop.run_until_cancelled(found).await.transpose()?;
                }
            }
        }
        if let Err(error) = self.client.flush().await {
            tracing::warn!(%error, "answers of the sweeper could not be flushed");
        }
        Ok(())
    }

    /// Creates the durable that the sweepers of this feed share.
    async fn durable(&self) -> Result<Consumer<pull::Config>, SweepError> {
        let config = pull::Config {
            durable_name: Some(format!("sweeper-{}", self.feed.stream())),
            filter_subjects: advisory_subjects(self.feed).into(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            ..pull::Config::default()
        };
        self.context.create_consumer_on_stream(config, ADVISORY_STREAM).await.map_err(|error| {
            let (kind, message) = match error.kind() {
                ConsumerErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    (SweepErrorKind::StreamNotFound, "does not exist: provision it")
                }
                ConsumerErrorKind::JetStream(answer) if answer.code() != 503 => {
                    (SweepErrorKind::Refused, "refuses the durable of the sweeper")
                }
                _ => (SweepErrorKind::Unavailable, "does not answer"),
            };
            SweepError::new(kind, format!("stream {ADVISORY_STREAM} {message}")).caused_by(error)
        })
    }

    /// Creates the durable anew if it was deleted; it stays as it was while nobody answers.
    async fn found_again(&self, durable: &mut Consumer<pull::Config>) -> Result<(), SweepError> {
        match self.durable().await {
            Ok(found) => *durable = found,
            Err(error) if error.kind() == SweepErrorKind::Unavailable => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn sweep(&self, message: &Message, summary: &mut SweepSummary) {
        let (answer, counter) = match Advisory::parse(&message.subject, &message.payload) {
            None => (AckKind::Term, &mut summary.ignored),
            Some(advisory) if advisory.is_filed() => (AckKind::Ack, &mut summary.already_filed),
            Some(advisory) => match self.file(&advisory).await {
                Ok(true) if advisory.verdict() == DeadLetterReason::Exhausted => {
                    (AckKind::Ack, &mut summary.exhausted)
                }
                Ok(true) => (AckKind::Ack, &mut summary.rejected),
                Ok(false) => (AckKind::Ack, &mut summary.gone),
                Err(error) => {
                    let (consumer, sequence) = (advisory.consumer, advisory.sequence);
                    limited!(self.lines, error, "dead letter could not be filed", consumer, sequence, error = %report(&*error));
                    (AckKind::Nak(Some(POSTPONE)), &mut summary.postponed)
                }
            },
        };
        *counter += 1;
        if let Err(error) = message.ack_with(answer).await {
            limited!(self.lines, warn, "answer to an advisory could not be sent", error);
        }
    }

    /// Stores the dead letter; `false` if the event is gone.
    async fn file(&self, advisory: &Advisory) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let (stream, consumer) = (self.feed.stream(), advisory.consumer.as_str());
        let Some(event) = stored_event::read(&self.context, stream, advisory).await? else {
            let (sequence, reason) = (advisory.sequence, advisory.error());
            limited!(
                self.lines,
                error,
                "event was given up and is gone from its stream",
                consumer,
                stream,
                sequence,
                reason
            );
            return Ok(false);
        };
        let record = DeadLetterRecord {
            consumer,
            reason: advisory.verdict(),
            error: &advisory.error(),
            deliveries: advisory.deliveries,
            stream,
            sequence: advisory.sequence,
            subject: &event.subject,
            headers: match &event.headers {
                Some(headers) => Headers::Are(headers),
                None => Headers::Unreadable { bytes: event.header.len() },
            },
            payload: &event.payload,
            lines: &self.lines,
        };
        record.store(&self.publisher, Instant::now() + STORE_WITHIN).await?;
        Ok(true)
    }
}

/// One advisory, if there is one soon. One at a time, so that none waits here while its ack wait runs.
async fn next(durable: &Consumer<pull::Config>) -> Result<Option<Message>, async_nats::Error> {
    let mut asked = durable.batch().max_messages(1).expires(EXPIRES).messages().await?;
    asked.next().await.transpose()
}
