//! The bucket: compare-and-set, and reading of a revision with its age.

use crate::{
    dedupe::{
        BucketName, Fence, StoreError, StoreErrorKind,
        kv::{
            KvStoreOptions,
            fitness::must_serve,
            record::Record,
            server_time::{Asked, ServerTime},
        },
    },
    nats::{account_limit, api::ApiSubject, api_context::ApiContext},
};
use async_nats::{
    Client, HeaderMap, HeaderValue, StatusCode,
    connection::State,
    jetstream::{
        self,
        context::{CreateStreamError, CreateStreamErrorKind},
        message::PublishMessage,
        response::Response,
        stream,
    },
};
use serde::Deserialize;
use std::{error::Error, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Creates the bucket, unless it exists; its configuration is read back either way.
pub(super) async fn create(
    context: &jetstream::Context,
    options: &KvStoreOptions,
) -> Result<Found, StoreError> {
    // The same as `create_key_value` makes, except for the first revision: revisions are fences, and must not start
    // over when the bucket is recreated.
    let config = stream::Config {
        name: options.bucket.stream(),
        subjects: vec![options.bucket.subject(">")],
        max_messages_per_subject: 1,
        max_age: options.retention,
        max_bytes: options.max_bytes.unwrap_or(-1),
        num_replicas: options.replicas,
        storage: options.storage(),
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        discard: stream::DiscardPolicy::New,
        first_sequence: Some(Fence::beginning()),
        ..stream::Config::default()
    };
    match context.create_stream(config).await {
        Ok(_) => find(context, options).await,
        // It exists with different settings, or another process is creating it: the actual bucket decides.
        Err(error) => find(context, options).await.map_err(|found| match found.kind() {
            StoreErrorKind::Mismatch => found,
            _ if is_limit(&error) => {
                let message = "bucket cannot be created: a limit of the account is reached";
                StoreError::new(StoreErrorKind::Full).with_message(message).caused_by(error)
            }
            _ => unavailable(error),
        }),
    }
}

fn is_limit(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::JetStream(answer) => account_limit::is_reached(&answer),
        _ => false,
    }
}

/// A bucket that can serve as a store, with the time of the broker.
pub(super) struct Found {
    pub(super) config: stream::Config,
    pub(super) time: ServerTime,
}

/// Finds the bucket, if it can serve as a store.
pub(super) async fn find(
    context: &jetstream::Context,
    options: &KvStoreOptions,
) -> Result<Found, StoreError> {
    let (Info { config, .. }, reported, asked) = info(context, &options.bucket.stream()).await?;
    must_serve(options.bucket.as_str(), &config)?;
    Ok(Found { config, time: ServerTime::new(reported, asked, options.skew_margin) })
}

/// The answer of the broker about the bucket. Read as JSON, since the type of async-nats lacks the time.
#[derive(Deserialize)]
struct Info {
    config: stream::Config,
    /// The time of the answer by the clock of the broker.
    ts: String,
}

/// Requests the configuration of the bucket and the time of the broker.
async fn info(
    context: &jetstream::Context,
    stream: &str,
) -> Result<(Info, OffsetDateTime, Asked), StoreError> {
    let before = OffsetDateTime::now_utc();
    let answer =
        context.request(ApiSubject::stream_info(stream).request(), &()).await.map_err(unavailable)?;
    let asked = Asked { before, after: OffsetDateTime::now_utc() };
    match answer {
        Response::Ok::<Info>(info) => {
            let reported = OffsetDateTime::parse(&info.ts, &Rfc3339).map_err(unavailable)?;
            Ok((info, reported, asked))
        }
        Response::Err { error } => Err(unavailable(error)),
    }
}

/// Pauses in which a lagging follower may catch up.
const LAG: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(100)];

/// An open bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    name: BucketName,
    stream: String,
    client: Client,
    context: ApiContext,
    timeout: Duration,
    time: ServerTime,
}

/// The current value of a slot, as known to the answering server.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) written: OffsetDateTime,
    pub(super) record: Record,
}

/// An error of a write.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The key is not at the expected revision.
    Conflict,
    Store(StoreError),
}

impl Bucket {
    pub(super) fn new(context: &ApiContext, options: &KvStoreOptions, time: ServerTime) -> Self {
        let timeout = options.operation_timeout;
        let (client, context) = (context.client(), context.with_timeout(timeout));
        let (name, stream) = (options.bucket.clone(), options.bucket.stream());
        Self { name, stream, client, context, timeout, time }
    }

    /// Returns the age of a timestamp of the broker, by the clock of the broker.
    pub(super) async fn age(&self, written: OffsetDateTime) -> Duration {
        // Without an answer the previous measurement is good enough, and a wait would use up the time of the operation.
        if self.time.is_due()
            && let Ok(Ok((_, reported, asked))) =
                tokio::time::timeout(self.timeout / 4, info(&self.context, &self.stream)).await
        {
            self.time.measured(reported, asked);
        }
        // A timestamp may be in the future if it was written by a server whose clock is ahead.
        Duration::try_from(self.time.now() - written).unwrap_or_default()
    }

    /// Runs an operation within its time limit.
    ///
    /// It is not begun without a connection: a write would wait in the client's queue and take the slot after its
    /// caller has given up.
    pub(super) async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("not connected to the broker"));
        }
        tokio::time::timeout(self.timeout, operation).await.map_err(unavailable)?
    }

    /// Writes the record if the key is at revision `expected` (0: has none), and returns the new revision.
    pub(super) async fn write(&self, key: &str, record: &Record, expected: u64) -> Result<u64, WriteError> {
        let value = record.encode().map_err(|error| WriteError::Store(unavailable(error)))?;
        let message = PublishMessage::build().payload(value.into()).expected_last_subject_sequence(expected);
        let subject = self.context.prefix().subject_of_key(self.name.subject(key));
        let stored = async { self.context.send_publish(subject, message).await?.await };
        Ok(stored.await.map_err(rejected)?.sequence)
    }

    /// Reads the key by a direct get. On a cluster the value may be outdated: decide by compare-and-set.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let request = self.context.subject(&ApiSubject::direct_get(&self.stream, &self.name.subject(key)));
        let message = self.client.request(request, "".into()).await.map_err(unavailable)?;
        match message.status {
            None => {}
            Some(StatusCode::NOT_FOUND) => return Ok(None),
            Some(status) => return Err(unavailable(format!("direct get answered {status}"))),
        }
        let headers = message.headers.unwrap_or_default();
        let (Some(revision), Some(written)) = (revision(&headers), written(&headers)) else {
            return Err(unavailable("direct get answered without sequence or timestamp"));
        };
        let record = if is_deleted(&headers) { Record::DELETED } else { Record::decode(&message.payload)? };
        Ok(Some(Entry { revision, written, record }))
    }

    /// Reads until the answering server knows `revision`, which exists; a follower may lag behind.
    pub(super) async fn read_since(&self, key: &str, revision: u64) -> Result<Option<Entry>, StoreError> {
        let mut found = self.read(key).await?;
        for wait in LAG {
            if found.as_ref().is_some_and(|entry| entry.revision >= revision) {
                break;
            }
            tokio::time::sleep(wait).await;
            found = self.read(key).await?;
        }
        Ok(found)
    }
}

/// Returns whether the key was deleted by an operator or by its maximum age.
fn is_deleted(headers: &HeaderMap) -> bool {
    text(headers, "KV-Operation").is_some_and(|operation| operation != "PUT")
        || text(headers, "Nats-Marker-Reason").is_some()
}

// Parsed from the header, since the date type of async-nats depends on its features.
fn written(headers: &HeaderMap) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text(headers, "Nats-Time-Stamp")?, &Rfc3339).ok()
}

fn revision(headers: &HeaderMap) -> Option<u64> {
    text(headers, "Nats-Sequence")?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::as_str)
}

/// Converts the error of a write. On a cluster, a lost race has an error code of its own that async-nats does not map.
fn rejected(error: jetstream::context::PublishError) -> WriteError {
    const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];
    const STORE_FAILED: u64 = 10_077;
    let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let is_full = answer.is_some_and(account_limit::is_reached);
    match answer.map(|answer| answer.error_code().0) {
        Some(code) if WRONG_LAST_SEQUENCE.contains(&code) => WriteError::Conflict,
        Some(code) if is_full || code == STORE_FAILED => {
            WriteError::Store(StoreError::new(StoreErrorKind::Full).caused_by(error))
        }
        _ => WriteError::Store(unavailable(error)),
    }
}

fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).caused_by(error)
}
