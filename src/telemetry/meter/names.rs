//! The names of all metrics, as `docs/observing.md` lists them.

use metrics::{Counter, Gauge, Histogram, Label, Unit};

pub(super) const EMITTED: &str = "stratt_events_emitted_total";
pub(super) const PUBLISH_DURATION: &str = "stratt_publish_duration_seconds";
pub(super) const RECEIVED: &str = "stratt_events_received_total";
pub(super) const HANDLED: &str = "stratt_events_handled_total";
pub(super) const DUPLICATES: &str = "stratt_duplicates_total";
pub(super) const RETRIES: &str = "stratt_retries_total";
pub(super) const DEAD_LETTERS: &str = "stratt_dead_letters_total";
pub(super) const UNSETTLED: &str = "stratt_unsettled_total";
pub(super) const IN_FLIGHT: &str = "stratt_in_flight";
pub(super) const PENDING: &str = "stratt_consumer_pending";
pub(super) const STORE_UP: &str = "stratt_store_up";
pub(super) const HANDLER_DURATION: &str = "stratt_handler_duration_seconds";
#[cfg(all(feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
pub(super) const OUTBOX_PENDING: &str = "stratt_outbox_pending";
#[cfg(all(feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
pub(super) const OUTBOX_OLDEST: &str = "stratt_outbox_oldest_seconds";
#[cfg(all(feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
pub(super) const OUTBOX_SET_ASIDE: &str = "stratt_outbox_set_aside";

pub(super) fn counter(name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Counter {
    metrics::describe_counter!(name, Unit::Count, help);
    metrics::counter!(name, owned(labels))
}

pub(super) fn gauge(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    labels: &[(&'static str, &str)],
) -> Gauge {
    metrics::describe_gauge!(name, unit, help);
    metrics::gauge!(name, owned(labels))
}

pub(super) fn seconds(name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
    metrics::describe_histogram!(name, Unit::Seconds, help);
    metrics::histogram!(name, owned(labels))
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
}

/// Gauges are floating-point numbers, and these never come near to what such a number cannot hold.
pub(super) fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
