//! What is compared of a durable, and how a difference is told.

use async_nats::jetstream::consumer::Config;
use std::fmt::{self, Debug};

/// A field of a durable that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) field: &'static str,
    pub(crate) found: String,
    pub(crate) wanted: String,
    /// The server cannot change it: the durable would have to be created anew.
    pub(crate) is_immutable: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found, wanted, .. } = self;
        write!(f, "{field} {found}, wanted {wanted}")
    }
}

/// Everything of ours that differs between what a durable should be and what it is; what is fixed comes first.
pub(crate) fn differences(wanted: &Config, found: &Config) -> Vec<Difference> {
    let fields = fields(wanted).into_iter().zip(fields(found));
    let differing = fields.filter(|((.., wanted), (.., found))| wanted != found);
    differing
        .map(|((field, is_immutable, wanted), (.., found))| Difference { field, found, wanted, is_immutable })
        .collect()
}

/// The configuration that `found` becomes: our fields as wanted, and all others as they are.
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

/// The filters, however many there are.
pub(crate) fn filters(config: &Config) -> Vec<String> {
    let mut filters = config.filter_subjects.clone();
    filters.extend(Some(config.filter_subject.clone()).filter(|filter| !filter.is_empty()));
    filters.sort();
    filters
}

/// Our fields: name, whether the server cannot change it, and its value.
fn fields(config: &Config) -> [(&'static str, bool, String); 16] {
    let shown = |value: &dyn Debug| format!("{value:?}");
    [
        ("deliver subject", true, shown(&config.deliver_subject)),
        ("deliver policy", true, shown(&config.deliver_policy)),
        ("ack policy", true, shown(&config.ack_policy)),
        ("priority policy", true, shown(&config.priority_policy)),
        ("replay policy", true, shown(&config.replay_policy)),
        ("memory storage", true, shown(&config.memory_storage)),
        ("ack wait", false, shown(&config.ack_wait)),
        ("max deliver", false, shown(&config.max_deliver)),
        ("filters", false, shown(&filters(config))),
        ("max ack pending", false, shown(&config.max_ack_pending)),
        ("priority timeout", false, shown(&config.priority_timeout)),
        ("headers only", false, shown(&config.headers_only)),
        ("backoff", false, shown(&config.backoff)),
        ("inactive threshold", false, shown(&config.inactive_threshold)),
        ("max batch", false, shown(&config.max_batch)),
        ("max expires", false, shown(&config.max_expires)),
    ]
}
