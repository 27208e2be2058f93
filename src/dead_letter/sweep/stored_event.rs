//! The event that an advisory is about.

use crate::{dead_letter::sweep::advisory::Advisory, nats::stored::Stored, topology::StreamInfo};
use async_nats::jetstream::{Context, ErrorCode, response::Response};
use std::error::Error;

/// Reads the event; `None` if its stream no longer has it.
pub(super) async fn read(
    context: &Context,
    stream: &'static str,
    advisory: &Advisory,
) -> Result<Option<Stored>, Box<dyn Error + Send + Sync>> {
    match StreamInfo::ask(context, stream).await? {
        Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => return Ok(None),
        Response::Err { error } => return Err(error.into()),
        // A stream that was recreated counts from one again: it has another event at this sequence.
        Response::Ok(info) if info.created()? > advisory.time => return Ok(None),
        Response::Ok(_) => {}
    }
    Stored::at(context, stream, advisory.sequence).await
}
