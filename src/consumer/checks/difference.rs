//! The settings of a durable that are compared.

use crate::nats::{
    config_diff::{self, ConfigDifference, Setting},
    subject_filter::filters,
};
use async_nats::jetstream::consumer::Config;
use std::fmt::Debug;

/// Returns the fields of ours in which a durable differs from what it should be; those that are immutable come first.
pub(crate) fn differences(wanted: &Config, found: &Config) -> impl Iterator<Item = ConfigDifference> {
    config_diff::differences(fields(wanted), fields(found))
}

/// Returns the configuration that `found` becomes: our fields as wanted, and all others as they are.
pub(crate) fn merged(wanted: &Config, found: Config) -> Config {
    Config {
        ack_wait: wanted.ack_wait,
        max_deliver: wanted.max_deliver,
        filter_subject: wanted.filter_subject.clone(),
        filter_subjects: wanted.filter_subjects.clone(),
        max_ack_pending: wanted.max_ack_pending,
        priority_timeout: wanted.priority_timeout,
        headers_only: wanted.headers_only,
        backoff: wanted.backoff.clone(),
        inactive_threshold: wanted.inactive_threshold,
        max_batch: wanted.max_batch,
        max_expires: wanted.max_expires,
        ..found
    }
}

/// Returns our fields.
fn fields(config: &Config) -> [Setting; 16] {
    let shown = |value: &dyn Debug| format!("{value:?}");
    [
        Setting::immutable("deliver subject", shown(&config.deliver_subject)),
        Setting::immutable("deliver policy", shown(&config.deliver_policy)),
        Setting::immutable("ack policy", shown(&config.ack_policy)),
        Setting::immutable("priority policy", shown(&config.priority_policy)),
        Setting::immutable("replay policy", shown(&config.replay_policy)),
        Setting::immutable("memory storage", shown(&config.memory_storage)),
        Setting::mutable("ack wait", shown(&config.ack_wait)),
        Setting::mutable("max deliver", shown(&config.max_deliver)),
        Setting::mutable("filters", shown(&filters(config))),
        Setting::mutable("max ack pending", shown(&config.max_ack_pending)),
        Setting::mutable("priority timeout", shown(&config.priority_timeout)),
        Setting::mutable("headers only", shown(&config.headers_only)),
        Setting::mutable("backoff", shown(&config.backoff)),
        Setting::mutable("inactive threshold", shown(&config.inactive_threshold)),
        Setting::mutable("max batch", shown(&config.max_batch)),
        Setting::mutable("max expires", shown(&config.max_expires)),
    ]
}
