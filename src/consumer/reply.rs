//! Telling the server how a delivery ended.

use super::decide::Ending;
use crate::dead_letter::FILED;
use async_nats::{Client, Subject};
use bytes::Bytes;
use std::time::Duration;

/// How long the server has to confirm that a message is terminated.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends what `ending` means. What is lost on the way costs a redelivery and nothing else: a settled event is then
/// acknowledged again, and the copy of a dead letter is dropped by its message id.
pub(super) async fn reply(client: &Client, to: Subject, ending: Ending) {
    let sent = match ending {
        Ending::Handled | Ending::Duplicate => client.publish(to, "+ACK".into()).await,
        Ending::Retried(delay) | Ending::Postponed(delay) => client.publish(to, nak(delay)).await,
        Ending::Returned => client.publish(to, "-NAK".into()).await,
        Ending::DeadLettered(reason) => return terminate(client, to, reason.as_str()).await,
        Ending::Abandoned => return,
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "answer to a delivery could not be sent");
    }
}

fn nak(delay: Duration) -> Bytes {
    // The server reads 64 bits with a sign: some 292 years.
    let nanos = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
    format!("-NAK {{\"delay\":{nanos}}}").into()
}

/// Confirmed, since a dead-lettered event that comes back is attempted from the start.
async fn terminate(client: &Client, to: Subject, reason: &str) {
    let request = client.request(to, format!("+TERM {FILED}{reason}").into());
    let failed = match tokio::time::timeout(CONFIRM_TIMEOUT, request).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.kind().to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(error = failed, "termination of a dead-lettered event was not confirmed");
}
