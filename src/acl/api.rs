//! The subjects of JetStream's own interface.

use crate::contract::{
    consumer_name::ConsumerName,
    subject::Feed,
    value::{ParseError, is_token},
};

/// A request about a stream, such as `STREAM.INFO`.
pub(super) fn about_stream(verb: &str, stream: &str) -> String {
    format!("$JS.API.STREAM.{verb}.{stream}")
}

/// A request about a durable, such as `INFO`.
pub(super) fn about_durable(verb: &str, feed: Feed, name: &ConsumerName) -> String {
    format!("$JS.API.CONSUMER.{verb}.{}.{name}", feed.stream())
}

/// All that a consumer needs of a durable that exists, and nothing of any other.
///
/// The acks have a fixed number of tokens, in both forms that servers use. With `>` in place of the last five, one form
/// of this durable would match the other form of a foreign one, and `+NXT` as an ack is a request for a message.
pub(super) fn use_of(feed: Feed, name: &ConsumerName) -> [String; 4] {
    let stream = feed.stream();
    [
        about_durable("INFO", feed, name),
        about_durable("MSG.NEXT", feed, name),
        format!("$JS.ACK.{stream}.{name}.*.*.*.*.*"),
        // With the domain and the account before the stream: from nats-server 2.16 on.
        format!("$JS.ACK.*.*.{stream}.{name}.*.*.*.*.*"),
    ]
}

/// The stream of a key-value bucket, unless the name could be more than one.
pub(super) fn bucket_stream(bucket: &str) -> Result<String, ParseError> {
    if is_token(bucket, 255, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        Ok(format!("KV_{bucket}"))
    } else {
        Err(ParseError::new("bucket name", "must be 1 to 255 of A-Z a-z 0-9 _ -", bucket))
    }
}
