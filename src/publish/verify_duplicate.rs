//! The check that a message that the broker dropped as a duplicate is really stored.

use crate::{
    contract::envelope::Envelope,
    publish::{Outgoing, PublishError, PublishErrorKind, PublishReceipt},
    telemetry::log_limit::{LogLimit, limited},
};
use async_nats::jetstream::{
    Context,
    message::StreamMessage,
    stream::{RawMessageErrorKind, Stream},
};
use std::sync::LazyLock;
use tokio::time::{Instant, timeout_at};

/// The limit for all publishers of the process: each caller learns the outcome of its own event.
static LINES: LazyLock<LogLimit> = LazyLock::new(|| LogLimit::new("publishing"));

/// Reads what the broker has in place of `message`. Others who may write to the stream can store something else under
/// the same message id first, which makes the broker drop ours.
pub(super) async fn verify(
    context: &Context,
    message: &Outgoing,
    receipt: PublishReceipt,
    deadline: Instant,
) -> Result<PublishReceipt, PublishError> {
    match timeout_at(deadline, read(context, &receipt)).await {
        Ok(Ok(Some(stored))) if is_same(&stored, message) => Ok(receipt),
        Ok(Ok(_)) => {
            limited!(
                LINES,
                error,
                "publish is suppressed: something else is stored under its message id",
                subject = message.subject,
                stream = receipt.stream(),
                sequence = receipt.sequence()
            );
            Err(PublishError::new(PublishErrorKind::Suppressed))
        }
        Ok(Err(error)) => Err(error.with_outcome_unknown(true)),
        Err(_elapsed) => Err(PublishError::new(PublishErrorKind::TimedOut).with_outcome_unknown(true)),
    }
}

/// Reads the message that the receipt names; `None` if it was removed since.
pub(super) async fn read(
    context: &Context,
    receipt: &PublishReceipt,
) -> Result<Option<StreamMessage>, PublishError> {
    let unavailable = |error| PublishError::caused(PublishErrorKind::Unavailable, error);
    let stream: Stream<()> =
        context.get_stream_no_info(receipt.stream()).await.map_err(|error| unavailable(error.into()))?;
    match stream.get_raw_message(receipt.sequence()).await {
        Ok(stored) => Ok(Some(stored)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unavailable(Box::<dyn std::error::Error + Send + Sync>::from(error))),
    }
}

/// Returns whether it has the same bytes, or is another envelope of the same fact.
fn is_same(stored: &StreamMessage, message: &Outgoing) -> bool {
    let key = |payload: &[u8]| Some(<Envelope>::decode(&message.subject, payload).ok()?.idempotency_key());
    stored.subject.as_str() == message.subject
        && (stored.payload == message.payload
            || key(&stored.payload).is_some_and(|stored| key(&message.payload) == Some(stored)))
}
