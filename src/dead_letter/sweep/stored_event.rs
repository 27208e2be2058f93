//! The event that an advisory speaks of.

use crate::{dead_letter::sweep::advisory::Advisory, nats::stored::Stored};
use async_nats::jetstream::{self, Context, ErrorCode, context::RequestError};
use serde::Deserialize;
use std::error::Error;
use time::{OffsetDateTime, serde::rfc3339};

/// Read as JSON: a feature of async-nats changes the type of its times for the whole build.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Error {
        error: jetstream::Error,
    },
    Info {
        #[serde(with = "rfc3339")]
        created: OffsetDateTime,
    },
}

/// The event, or `None` when its stream no longer has it.
pub(super) async fn read(
    context: &Context,
    stream: &'static str,
    advisory: &Advisory,
) -> Result<Option<Stored>, Box<dyn Error + Send + Sync>> {
    let asked: Result<Answer, RequestError> = context.request(format!("STREAM.INFO.{stream}"), &()).await;
    match asked? {
        Answer::Error { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => return Ok(None),
        Answer::Error { error } => return Err(error.into()),
        // A stream that was created anew counts from one again: it has another event there.
        Answer::Info { created } if created > advisory.time => return Ok(None),
        Answer::Info { .. } => {}
    }
    Stored::at(context, stream, advisory.sequence).await
}
