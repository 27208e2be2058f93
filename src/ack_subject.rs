//! What the subject that a delivery is acknowledged on says about it.

use std::time::Duration;

/// When the server stored the message, since 1970. The date type of async-nats depends on its features.
///
/// `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{of the consumer}.{nanoseconds}.{pending}`; newer servers have the
/// domain and the account before the stream.
pub(crate) fn stored_at(subject: &str) -> Option<Duration> {
    let tokens: Vec<_> = subject.split('.').collect();
    let nanos = if tokens.len() == 9 { tokens.get(7) } else { tokens.get(9) };
    Some(Duration::from_nanos(nanos?.parse().ok()?))
}
