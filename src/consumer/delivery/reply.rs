//! The answers to the server.

use crate::{
    consumer::{delivery::decide::Ending, shared::Shared},
    dead_letter::DEAD_LETTERED_PREFIX,
    telemetry::log_limit::limited,
};
use async_nats::{Subject, message::OutboundMessage};
use bytes::Bytes;
use std::time::Duration;

/// The time the server has to confirm that a message is terminated.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the answer for `ending`, if it is a single message. A lost answer costs a redelivery and nothing else: a
/// settled event is then acknowledged again.
pub(crate) fn answer(to: &Subject, ending: Ending) -> Option<OutboundMessage> {
    let payload = match ending {
        Ending::Handled | Ending::Duplicate => Bytes::from_static(b"+ACK"),
        Ending::Retried(delay)
        | Ending::Deferred(delay)
        | Ending::Postponed(delay)
        | Ending::BehindStalled(delay) => nak(delay),
        Ending::Returned => Bytes::from_static(b"-NAK"),
        // A dead-lettered message was terminated; an abandoned one gets no answer.
        Ending::DeadLettered(_) | Ending::Abandoned => return None,
    };
    Some(OutboundMessage { subject: to.clone(), reply: None, payload, headers: None })
}

/// Returns the kind of the answer in one word; `None` is no answer.
pub(crate) fn verb(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Handled | Ending::Duplicate => Some("ack"),
        Ending::Retried(_)
        | Ending::Deferred(_)
        | Ending::Postponed(_)
        | Ending::Returned
        | Ending::BehindStalled(_) => Some("nak"),
        Ending::DeadLettered(_) => Some("term"),
        Ending::Abandoned => None,
    }
}

fn nak(delay: Duration) -> Bytes {
    // The server reads 64 bits with a sign: some 292 years.
    let nanos = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
    format!("-NAK {{\"delay\":{nanos}}}").into()
}

/// Ends the deliveries of an event whose dead letter is stored. Confirmed, since a dead-lettered event that comes back
/// is attempted from the start; the copy of its dead letter would be dropped by its message id.
pub(crate) async fn terminate(shared: &Shared, to: Subject, reason: &str) {
    let request = shared.client.request(to, format!("+TERM {DEAD_LETTERED_PREFIX}{reason}").into());
    let failed = match tokio::time::timeout(CONFIRM_TIMEOUT, request).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.kind().to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    let consumer = &shared.name;
    limited!(shared.lines, warn, "termination of a dead-lettered event was not confirmed", %consumer, error = failed);
}
