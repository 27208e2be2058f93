//! Events that are stored all together or not at all:
//! <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md>.

use crate::{
    contract::event::key::IdempotencyKey,
    nats::permission_violation::PermissionViolation,
    publish::{
        EncodedEvent, PublishError, PublishErrorKind, PublishReceipt, Publisher,
        attempt::{
            answer::{Answer, Stored, is_final, is_of_jetstream},
            failure::Failure,
            retry::Backoff,
        },
        meter::Begun,
        verify_duplicate,
    },
    report::report,
    telemetry::{span, trace_context},
    topology::EVENT_STREAM,
};
use async_nats::{HeaderName, Message, header};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;
use uuid::Uuid;

/// The most messages of a batch, which is the server's default.
pub(crate) const MAX_BATCH: usize = 1000;

/// The number of messages that are looked up at once.
const PROBES: usize = 64;

const ATOMIC_PUBLISH_DISABLED: u64 = 10_174;
const BATCH_INCOMPLETE: u64 = 10_176;
const BATCH_TOO_LARGE: u64 = 10_199;
const BATCH_CONTAINS_DUPLICATE: u64 = 10_201;
const TOO_MANY_BATCHES: u64 = 10_210;
const ROLLUP_FAILED: u64 = 10_111;

/// The reason why a batch was not stored.
enum BatchFailure {
    /// The server has one of its message ids already, or lost a part of it.
    MayHoldStored(Failure),
    Other(Failure),
}

impl<T: Into<Failure>> From<T> for BatchFailure {
    fn from(failure: T) -> Self {
        Self::Other(failure.into())
    }
}

impl Publisher {
    /// Stores `events` in one batch, without those that are stored already; receipts come in their order.
    pub(crate) async fn publish_batch(
        &self,
        events: &[EncodedEvent],
    ) -> Result<Vec<PublishReceipt>, PublishError> {
        self.publish_batch_until(events, Instant::now() + self.options.retry_budget()).await
    }

    /// Does the same until `deadline`.
    pub(crate) async fn publish_batch_until(
        &self,
        events: &[EncodedEvent],
        deadline: Instant,
    ) -> Result<Vec<PublishReceipt>, PublishError> {
        // An older server would store them one by one.
        if !self.context.client().is_server_compatible(2, 12, 0) {
            let cause = "batches need nats-server 2.12 or newer";
            return Err(PublishError::caused(PublishErrorKind::Unsupported, cause));
        }
        if events.len() > MAX_BATCH {
            return Err(PublishError::new(PublishErrorKind::TooLarge));
        }
        let mut seen = HashSet::new();
        let distinct: Vec<_> = events.iter().filter(|event| seen.insert(event.key)).collect();
        let span = span::publish_batch(EVENT_STREAM, events.len(), &self.context);
        let begun = Begun::now("");
        let stored = self.store_batch(distinct, deadline).instrument(span.clone()).await;
        let outcome = stored.map(|receipts| in_order(events, receipts));
        self.meter.batch_ended(begun, events.iter().map(|event| event.subject.as_str()), &outcome);
        outcome.inspect_err(|error| span::failed(&span, error.kind().as_str()))
    }

    async fn store_batch(
        &self,
        mut events: Vec<&EncodedEvent>,
        deadline: Instant,
    ) -> Result<HashMap<IdempotencyKey, PublishReceipt>, PublishError> {
        let mut receipts = HashMap::with_capacity(events.len());
        let mut backoff = Backoff::until(deadline);
        while !events.is_empty() {
            let failure = match self.attempt_batch(&events, deadline).await {
                Ok(stored) => {
                    receipts.extend(events.iter().map(|event| event.key).zip(stored));
                    break;
                }
                Err(BatchFailure::MayHoldStored(failure)) => {
                    match self.leave_out_stored(&mut events, &mut receipts, deadline).await {
                        // At once with the rest.
                        Ok(true) => continue,
                        Ok(false) => failure,
                        Err(failure) => failure,
                    }
                }
                Err(BatchFailure::Other(failure)) => failure,
            };
            let size = events.len();
            let log = |error: &PublishError| {
                tracing::debug!(events = size, error = %report(error), "batch is repeated");
            };
            backoff.wait_after(failure, log).await.map_err(|error| self.explained(error))?;
        }
        Ok(receipts)
    }

    async fn attempt_batch(
        &self,
        events: &[&EncodedEvent],
        deadline: Instant,
    ) -> Result<Vec<PublishReceipt>, BatchFailure> {
        let until = deadline.min(Instant::now() + self.options.attempt_timeout());
        let is_ours = |violation: &PermissionViolation| {
            events.iter().any(|event| violation.is_of_publish(&event.subject))
        };
        let stored = pin!(timeout_at(until, self.send_batch(events, until)));
        match self.watch.guard(self.watch.now(), &self.inbox, is_ours, stored).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(_elapsed)) => Err(Failure::unanswered().into()),
            // A batch that lacks one of its messages is not committed; only the last answer may be missing.
            Err(violation) => Err(Failure::denied(&violation, !is_ours(&violation)).into()),
        }
    }

    async fn send_batch(
        &self,
        events: &[&EncodedEvent],
        until: Instant,
    ) -> Result<Vec<PublishReceipt>, BatchFailure> {
        let client = self.context.client();
        let id = Uuid::new_v4().simple().to_string();
        for (number, event) in (1..).zip(events) {
            let mut headers = event.headers();
            trace_context::inject(&mut headers);
            headers.insert(HeaderName::from_static("Nats-Batch-Id"), id.as_str());
            headers.insert(HeaderName::from_static("Nats-Batch-Sequence"), number.to_string());
            if number == events.len() {
                headers.insert(HeaderName::from_static("Nats-Batch-Commit"), "1");
                let answer = self.ask(event.with(headers), until, is_final).await?;
                let receipts = committed(&answer, events.len())?.into_iter();
                return Ok(receipts.map(|receipt| self.in_domain(receipt)).collect::<Result<_, _>>()?);
            }
            if number == 1 {
                // A server with batches stores nothing yet. A stream leader without, behind the server of this
                // connection, is detected before it has stored more.
                let answer = self.ask(event.with(headers), until, is_of_jetstream).await?;
                match Answer::read(&answer) {
                    Answer::Staged => {}
                    Answer::Stored(_) => {
                        return Err(unsupported("stream leader does not support batches", true));
                    }
                    answer => return Err(refused(answer)),
                }
            } else {
                let (subject, payload) = (event.subject.clone(), event.payload.clone());
                client.publish_with_headers(subject, headers, payload).await.map_err(Failure::from)?;
            }
        }
        Ok(Vec::new())
    }

    /// Leaves out the events that are stored already, and returns whether there are any.
    async fn leave_out_stored(
        &self,
        events: &mut Vec<&EncodedEvent>,
        receipts: &mut HashMap<IdempotencyKey, PublishReceipt>,
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let until = deadline.min(Instant::now() + self.options.attempt_timeout());
        let probes: Vec<_> = events.iter().map(|event| self.stored_as(event, until).boxed()).collect();
        let found: Vec<_> = stream::iter(probes).buffered(PROBES).try_collect().await?;
        let found = std::mem::take(events).into_iter().zip(found);
        let before = found.len();
        for (event, receipt) in found {
            match receipt {
                Some(receipt) => {
                    receipts.insert(event.key, self.verified(event, receipt, deadline).await?);
                }
                None => events.push(event),
            }
        }
        Ok(events.len() < before)
    }

    /// Looks up a message id by a publish that the broker cannot store: it checks for a duplicate before it refuses a
    /// roll-up that does not exist. An expected sequence would not do: the broker checks it first, but only in
    /// streams without replicas. An expected last message id that is wrong holds up a stream with replicas for
    /// seconds (2.15.1).
    async fn stored_as(
        &self,
        event: &EncodedEvent,
        until: Instant,
    ) -> Result<Option<PublishReceipt>, Failure> {
        let mut headers = event.headers();
        headers.insert(header::NATS_ROLLUP, "none");
        let answer = self.ask(event.with(headers), until, is_final).await?;
        match Answer::read(&answer) {
            Answer::Refused(error) if error.error_code().0 == ROLLUP_FAILED => Ok(None),
            answer => Ok(Some(self.in_domain(answer.receipt()?)?)),
        }
    }

    async fn verified(
        &self,
        event: &EncodedEvent,
        receipt: PublishReceipt,
        deadline: Instant,
    ) -> Result<PublishReceipt, Failure> {
        if !self.options.verify_duplicates() {
            return Ok(receipt);
        }
        let message = event.clone().into_outgoing();
        let verified = verify_duplicate::verify(&self.context, &message, receipt, deadline).await;
        verified.map_err(|error| Failure { error, try_again: false })
    }
}

/// Returns the receipts of a commit: a batch is stored in one piece.
fn committed(answer: &Message, size: usize) -> Result<Vec<PublishReceipt>, BatchFailure> {
    let Stored { stream, sequence: last, count, domain, .. } = match Answer::read(answer) {
        Answer::Stored(stored) => stored,
        answer => return Err(refused(answer)),
    };
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    // A single message is stored by any server; a batch is acknowledged as one.
    let first = last.checked_sub(size).filter(|_| count == Some(size) || (count.is_none() && size == 1));
    let Some(before) = first else {
        return Err(unsupported("stream leader did not store a batch", true));
    };
    let (stream, domain): (Arc<str>, _) = ((*stream).into(), domain.as_deref().map(Arc::<str>::from));
    let receipt =
        |sequence| PublishReceipt::new(Arc::clone(&stream), sequence, false).with_domain(domain.clone());
    Ok((before + 1..=last).map(receipt).collect())
}

fn refused(answer: Answer<'_>) -> BatchFailure {
    match answer {
        Answer::Refused(error) => match error.error_code().0 {
            BATCH_CONTAINS_DUPLICATE | BATCH_INCOMPLETE => {
                let error = PublishError::caused(PublishErrorKind::Unavailable, error);
                BatchFailure::MayHoldStored(Failure { error, try_again: true })
            }
            TOO_MANY_BATCHES => {
                let error = PublishError::caused(PublishErrorKind::Unavailable, error);
                Failure { error, try_again: true }.into()
            }
            ATOMIC_PUBLISH_DISABLED => unsupported(error, false),
            BATCH_TOO_LARGE => Failure::too_large().into(),
            _ => error.into(),
        },
        Answer::NoStream => Failure::without_stream().into(),
        Answer::Staged | Answer::Stored(_) | Answer::Foreign => Failure::unanswered().into(),
    }
}

fn unsupported(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>, unknown: bool) -> BatchFailure {
    let error = PublishError::caused(PublishErrorKind::Unsupported, cause).with_outcome_unknown(unknown);
    Failure { error, try_again: false }.into()
}

/// Returns the receipt of each event; a repeated event in the same batch is a duplicate of the first.
fn in_order(
    events: &[EncodedEvent],
    mut receipts: HashMap<IdempotencyKey, PublishReceipt>,
) -> Vec<PublishReceipt> {
    let mut ordered = Vec::with_capacity(events.len());
    for event in events {
        let Some(receipt) = receipts.get_mut(&event.key) else { continue };
        ordered.push(receipt.clone());
        receipt.make_duplicate();
    }
    ordered
}
