//! The key-value bucket of a dedupe store.

use crate::contract::value::{ParseError, is_token};

/// Returns the stream of a key-value bucket, unless the name could be more than one token.
pub(super) fn bucket_stream(bucket: &str) -> Result<String, ParseError> {
    if is_token(bucket, 255, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        Ok(format!("KV_{bucket}"))
    } else {
        Err(ParseError::new("bucket name", "must be 1 to 255 of A-Z a-z 0-9 _ -", bucket))
    }
}
