//! Stored messages and slots as JSON, even those that the client library cannot read.

use crate::{failure::Failure, text::time};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use stratt_event_bridge::{
    EventBridge,
    async_nats::jetstream::{ErrorCode, response::Response},
    dedupe::BucketName,
};
use time::OffsetDateTime;

#[derive(Debug, Deserialize)]
struct Answer {
    message: Raw,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Raw {
    #[serde(rename = "seq")]
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    time: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl Raw {
    pub(crate) fn time(&self) -> Option<OffsetDateTime> {
        time(&self.time).ok()
    }

    pub(crate) fn header(&self) -> String {
        String::from_utf8_lossy(&STANDARD.decode(&self.hdrs).unwrap_or_default()).into_owned()
    }
}

/// The slot of a dedupe store in JetStream.
#[derive(Debug, Deserialize)]
pub(crate) struct KnownSlot {
    /// `held`, `free` or `settled`.
    pub(crate) state: String,
    pub(crate) attempt: Option<u64>,
}

/// Returns the last message whose subject matches.
pub(crate) async fn last(bridge: &EventBridge, stream: &str, filter: &str) -> Result<Option<Raw>, Failure> {
    ask(bridge, stream, json!({ "last_by_subj": filter })).await
}

/// Returns the first message from `sequence` on whose subject matches.
pub(crate) async fn next(
    bridge: &EventBridge,
    stream: &str,
    sequence: u64,
    filter: &str,
) -> Result<Option<Raw>, Failure> {
    ask(bridge, stream, json!({ "seq": sequence, "next_by_subj": filter })).await
}

/// Returns what a dedupe store in JetStream knows of an event; `None` if there is no such bucket, or nothing in it.
pub(crate) async fn slot(
    bridge: &EventBridge,
    bucket: &BucketName,
    consumer: &str,
    key: &str,
) -> Result<Option<KnownSlot>, Failure> {
    let subject = format!("$KV.{bucket}.{consumer}.{key}");
    let found = last(bridge, &format!("KV_{bucket}"), &subject).await?;
    let value = found.and_then(|found| STANDARD.decode(found.data).ok());
    Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
}

async fn ask(bridge: &EventBridge, stream: &str, body: Value) -> Result<Option<Raw>, Failure> {
    let answer = bridge.jetstream().request(format!("STREAM.MSG.GET.{stream}"), &body).await;
    match answer.map_err(Failure::no_broker)? {
        Response::Ok(Answer { message }) => Ok(Some(message)),
        Response::Err { error } => match error.error_code() {
            ErrorCode::NO_MESSAGE_FOUND | ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(Failure::no_broker(error)),
        },
    }
}
