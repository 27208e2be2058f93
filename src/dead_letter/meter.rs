//! Metrics of dead letters.

use crate::{
    contract::{consumer_name::ConsumerName, subject::UNKNOWN},
    dead_letter::DeadLetterReason,
    telemetry::instrument::{Counter, DEAD_LETTERS, counter},
};

/// Returns the counter of the dead letters of a consumer. Made at the start, it begins at zero: Prometheus sees no
/// increase in a counter that begins at one.
pub(crate) fn counter_of(consumer: &str, reason: DeadLetterReason) -> Counter {
    counter(DEAD_LETTERS, "Dead letters stored.", &[("consumer", consumer), ("reason", reason.as_str())])
}

/// Counts a dead letter. Rare, so the handle is made on demand. Foreign consumer names become `_`, which bounds the
/// number of labels.
pub(crate) fn dead_lettered(consumer: &str, reason: DeadLetterReason) {
    let consumer = if consumer.parse::<ConsumerName>().is_ok() { consumer } else { UNKNOWN };
    counter_of(consumer, reason).add(1);
}
