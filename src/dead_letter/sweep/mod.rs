//! Dead letters of consumers that store none themselves.

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
    nats::api_context::ApiContext,
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
        AckKind, ErrorCode, Message,
        consumer::{AckPolicy, Consumer, pull},
        stream::ConsumerErrorKind,
    },
};
use futures::StreamExt;
use std::{error::Error, sync::Arc, time::Duration};
use stored_event::Found;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The time for which the server keeps a request for an advisory open; a shutdown waits as long for one on its way.
const EXPIRES: Duration = Duration::from_secs(1);
/// The longest time that a shutdown waits for the broker.
const AFTER_SHUTDOWN: Duration = Duration::from_secs(5);
/// The time within which a dead letter is stored: less than the ack wait, so that two sweepers seldom do the same work.
const STORE_WITHIN: Duration = Duration::from_secs(15);
/// The ack wait: far below the duplicate window of the dead letters, so that a repeat is dropped as a duplicate.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The pause before a failed request is retried.
const PAUSE: Duration = Duration::from_secs(1);
const POSTPONE: Duration = Duration::from_secs(5);

/// A sweeper, which stores the dead letters of consumers that were not written with this crate.
///
/// A plain JetStream consumer with a limit of deliveries, or one that terminates events, leaves them in the stream,
/// where they are forgotten. The server reports each of them once, in an advisory. A sweeper reads these advisories
/// from a stream of their own and stores each event under `stratt.dlq.{consumer}.{domain}.{event-type}`, with the
/// original bytes and the headers and message id that consumers of this crate use. It stores none for those: their
/// durables have no limit of deliveries, and their terminations say that the dead letter is stored.
///
/// Any number of sweepers may run for one feed; they share the work. The cases that a sweeper cannot see are listed in
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
    context: ApiContext,
    publisher: Publisher,
    feed: Feed,
    lines: Arc<LogLimit>,
}

impl Sweeper {
    pub(crate) fn new(link: &Link, feed: Feed) -> Self {
        let (client, context) = (link.client.clone(), link.context.clone());
        let lines = Arc::new(LogLimit::new(format!("sweeper of {}", feed.stream())));
        Self { client, context, publisher: link.publisher.clone(), feed, lines }
    }

    /// Creates the stream of advisories, `STRATT_ADVISORIES`, for both feeds, or changes what differs. From then on the
    /// server keeps its advisories, whether or not a sweeper runs. Set its age to that of the events, its replicas too.
    ///
    /// # Errors
    ///
    /// A [`TopologyError`] as for [`EventBridge::provision`](crate::EventBridge::provision).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the stream created; provisioning again is harmless.
    pub async fn provision(&self, settings: &StreamSettings) -> Result<(), TopologyError> {
        provision_advisories(&self.context, settings).await
    }

    /// Stores dead letters until `shutdown` resolves. Continues after an outage of the broker. Returns within 2 s of
    /// `shutdown`, or within 5 s if the broker is slow or does not answer; unfinished advisories are then redelivered.
    ///
    /// # Errors
    ///
    /// A [`SweepError`] when the server is too old, when the stream of advisories does not exist or is deleted, when
    /// the broker refuses, or does not answer at the start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a dead letter stored whose advisory is not acknowledged: it comes again after 30
    /// s, and the broker drops the repeat. Nothing is lost.
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
                    // A lost connection, or one without room for a command, must not keep the service from ending.
                    timeout(AFTER_SHUTDOWN, sweeping).await.ok()
                }
            }
        };
        if let Some(ended) = ended {
            ended?;
        } else {
            tracing::warn!(
                "sweeper was shut down before it finished; its unfinished advisories are redelivered"
            );
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
            // Not dropped at shutdown: an advisory on its way would be redelivered only after the ack wait.
            match next(&durable).await {
                Ok(Some(message)) => self.sweep(&message, summary).await,
                Ok(None) => {}
                Err(error) => {
                    limited!(self.lines, warn, "sweeper could not pull advisories", error);
                    let found = async {
                        sleep(PAUSE).await;
                        self.found_again(&mut durable).await
                    };
                    stop.run_until_cancelled(found).await.transpose()?;
                }
            }
        }
        if let Err(error) = self.client.flush().await {
            tracing::warn!(%error, "acknowledgements of the sweeper could not be flushed");
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

    /// Recreates the durable if it was deleted; keeps it while the broker does not answer.
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
            Some(advisory) if advisory.is_stored() => (AckKind::Ack, &mut summary.already_stored),
            Some(advisory) => match self.store(&advisory).await {
                Ok(Swept::Stored) if advisory.verdict() == DeadLetterReason::Exhausted => {
                    (AckKind::Ack, &mut summary.exhausted)
                }
                Ok(Swept::Stored) => (AckKind::Ack, &mut summary.rejected),
                Ok(Swept::Gone) => (AckKind::Ack, &mut summary.gone),
                Ok(Swept::Foreign) => (AckKind::Term, &mut summary.ignored),
                Err(error) => {
                    let (consumer, sequence) = (advisory.consumer, advisory.sequence);
                    limited!(self.lines, error, "dead letter could not be stored", consumer, sequence, error = %report(&*error));
                    (AckKind::Nak(Some(POSTPONE)), &mut summary.postponed)
                }
            },
        };
        *counter += 1;
        if let Err(error) = message.ack_with(answer).await {
            limited!(self.lines, warn, "acknowledgement of an advisory could not be sent", error);
        }
    }

    /// Stores the dead letter, if there is an event.
    async fn store(&self, advisory: &Advisory) -> Result<Swept, Box<dyn Error + Send + Sync>> {
        let (stream, consumer) = (self.feed.stream(), advisory.consumer.as_str());
        let event = match stored_event::read(&self.context, stream, advisory).await? {
            Found::Event(event) => event,
            Found::Foreign => return Ok(Swept::Foreign),
            Found::Gone => {
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
                return Ok(Swept::Gone);
            }
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
            unit: None,
            lines: &self.lines,
        };
        record.store(&self.publisher, Instant::now() + STORE_WITHIN).await?;
        Ok(Swept::Stored)
    }
}

/// The result of an advisory.
enum Swept {
    Stored,
    /// The event is gone.
    Gone,
    /// It is about a stream of the same name in another JetStream domain.
    Foreign,
}

/// Pulls one advisory; `None` if there is none soon. One at a time, so that none waits here while its ack wait runs.
async fn next(durable: &Consumer<pull::Config>) -> Result<Option<Message>, async_nats::Error> {
    let mut asked = durable.batch().max_messages(1).expires(EXPIRES).messages().await?;
    asked.next().await.transpose()
}
