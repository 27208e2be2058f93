//! The event that an advisory is about.

use crate::{dead_letter::sweep::advisory::Advisory, nats::stored::Stored, topology::StreamInfo};
use async_nats::jetstream::{Context, ErrorCode, response::Response};
use std::error::Error;

/// The event that an advisory is about, as far as it can be read.
pub(super) enum Found {
    Event(Stored),
    /// Its stream no longer has it.
    Gone,
    /// Its stream is in another JetStream domain: advisories reach all domains of an account.
    Foreign,
}

/// Reads the event.
pub(super) async fn read(
    context: &Context,
    stream: &'static str,
    advisory: &Advisory,
) -> Result<Found, Box<dyn Error + Send + Sync>> {
    match StreamInfo::ask(context, stream).await? {
        Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            return Ok(Found::Gone);
        }
        Response::Err { error } => return Err(error.into()),
        Response::Ok(info) if info.domain != advisory.domain => return Ok(Found::Foreign),
        // A stream that was recreated counts from one again: it has another event at this sequence.
        Response::Ok(info) if info.created()? > advisory.time => return Ok(Found::Gone),
        Response::Ok(_) => {}
    }
    Ok(Stored::at(context, stream, advisory.sequence).await?.map_or(Found::Gone, Found::Event))
}
