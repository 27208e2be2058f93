//! The error codes of a server whose limit of an account, a stream or the server itself is reached.

use async_nats::jetstream::{self, ErrorCode};

/// Returns whether a limit is reached: of storage, memory, streams, or consumers.
pub(crate) fn is_reached(answer: &jetstream::Error) -> bool {
    matches!(
        answer.error_code(),
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::CONSUMER_MAX_PENDING_ACK_EXCESS
            | ErrorCode::MAXIMUM_CONSUMERS_LIMIT
            | ErrorCode::MAXIMUM_STREAMS_LIMIT
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::NO_LIMITS
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED
    )
}
