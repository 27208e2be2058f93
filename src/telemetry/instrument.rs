//! Counters, gauges and histograms of the crate `metrics`, and their names. Without the feature they count nothing.
//!
//! Handles are made once, by each publisher, consumer and outbox: counting then costs an atomic addition.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(crate) use off::{Counter, Gauge, Histogram, counter, gauge, gauge_in_seconds, histogram};
#[cfg(feature = "metrics")]
pub(crate) use on::{Counter, Gauge, Histogram, counter, gauge, gauge_in_seconds, histogram};

pub(crate) type Labels<'a> = &'a [(&'static str, &'a str)];

pub(crate) const EMITTED: &str = "stratt_events_emitted_total";
pub(crate) const PUBLISH_DURATION: &str = "stratt_publish_duration_seconds";
pub(crate) const RECEIVED: &str = "stratt_events_received_total";
pub(crate) const HANDLED: &str = "stratt_events_handled_total";
pub(crate) const DUPLICATES: &str = "stratt_duplicates_total";
pub(crate) const RETRIES: &str = "stratt_retries_total";
pub(crate) const DEAD_LETTERS: &str = "stratt_dead_letters_total";
pub(crate) const DEAD_LETTERS_STORED: &str = "stratt_dead_letters_stored";
pub(crate) const UNSETTLED: &str = "stratt_unsettled_total";
pub(crate) const IN_FLIGHT: &str = "stratt_in_flight";
pub(crate) const HELD: &str = "stratt_held";
pub(crate) const PENDING: &str = "stratt_consumer_pending";
pub(crate) const UNANSWERED: &str = "stratt_consumer_unanswered";
pub(crate) const OLDEST: &str = "stratt_consumer_oldest_seconds";
pub(crate) const MAX_AGE: &str = "stratt_consumer_max_age_seconds";
pub(crate) const PINNED: &str = "stratt_consumer_pinned_total";
pub(crate) const PAUSED: &str = "stratt_consumer_paused_seconds";
pub(crate) const BREAKER_OPEN: &str = "stratt_circuit_breaker_open";
pub(crate) const STORE_UP: &str = "stratt_store_up";
pub(crate) const FORWARDING_STALLED: &str = "stratt_forwarding_stalled";
pub(crate) const FORWARDING_BEHIND: &str = "stratt_forwarding_behind";
pub(crate) const FORWARDING_BEHIND_FOR: &str = "stratt_forwarding_behind_seconds";
pub(crate) const FORWARDING_HEALS: &str = "stratt_forwarding_heals_total";
pub(crate) const HANDLER_DURATION: &str = "stratt_handler_duration_seconds";
#[cfg(all(feature = "metrics", any(feature = "postgres", feature = "sqlite")))]
pub(crate) const OUTBOX_PENDING: &str = "stratt_outbox_pending";
#[cfg(all(feature = "metrics", any(feature = "postgres", feature = "sqlite")))]
pub(crate) const OUTBOX_OLDEST: &str = "stratt_outbox_oldest_seconds";
#[cfg(all(feature = "metrics", any(feature = "postgres", feature = "sqlite")))]
pub(crate) const OUTBOX_QUARANTINED: &str = "stratt_outbox_quarantined";

/// Returns the counter of duplicates. Both kinds have one name, so that neither is overlooked.
pub(crate) fn duplicates(consumer: &str, cause: &'static str) -> Counter {
    let labels = [("consumer", consumer), ("cause", cause)];
    counter(DUPLICATES, "Events that were not stored, or not handled, a second time.", &labels)
}
