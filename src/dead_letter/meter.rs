//! Metrics of dead letters.

use crate::{
    contract::{consumer_name::ConsumerName, subject::UNKNOWN},
    dead_letter::DeadLetterReason,
    telemetry::instrument::{DEAD_LETTERS, counter},
};

/// Counts a dead letter. Rare, so the handle is made on demand. Foreign consumer names become `_`, which bounds the
/// number of labels.
pub(crate) fn dead_lettered(consumer: &str, reason: DeadLetterReason) {
    let consumer = if consumer.parse::<ConsumerName>().is_ok() { consumer } else { UNKNOWN };
    let labels = [("consumer", consumer), ("reason", reason.as_str())];
    counter(DEAD_LETTERS, "Dead letters stored.", &labels).add(1);
}
