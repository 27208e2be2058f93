//! The settings of a stream that are compared.

use crate::{
    nats::config_diff::{self, ConfigDifference, Setting},
    topology::{DEAD_LETTER_STREAM, durable_source::is_mark},
};
use async_nats::jetstream::stream::{Config, PersistenceMode, SubjectTransform};
use serde::Serialize;
use std::fmt;

/// A field of a stream that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    stream: String,
    #[serde(flatten)]
    inner: ConfigDifference,
}

impl Difference {
    /// Returns the name of the stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Returns the name of the field.
    #[must_use]
    pub fn field(&self) -> &str {
        self.inner.field
    }

    /// Returns the value that is wanted.
    #[must_use]
    pub fn wanted(&self) -> &str {
        &self.inner.wanted
    }

    /// Returns the value that was found.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.inner.found
    }

    /// Returns whether the server cannot change the field, so that the stream would have to be recreated.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.inner.is_immutable
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, inner: ConfigDifference { field, wanted, found, is_immutable } } = self;
        write!(f, "{stream}: {field} is {found}, wanted {wanted}")?;
        if *is_immutable { f.write_str(" (cannot be changed)") } else { Ok(()) }
    }
}

/// Returns everything in which a stream differs from what it should be.
pub(super) fn differences(wanted: &Config, found: &Config) -> Vec<Difference> {
    let found = Config {
        // No guarantee needs batches to be forbidden.
        allow_atomic_publish: found.allow_atomic_publish && wanted.allow_atomic_publish,
        // Messages of the other streams are never deleted one by one.
        deny_delete: found.deny_delete && wanted.name == DEAD_LETTER_STREAM,
        ..found.clone()
    };
    config_diff::differences(fields(wanted), fields(&found))
        // Sealing changes other fields as well, and none of them can be changed any more.
        .filter(|difference| !found.sealed || difference.field == SEALED)
        .map(|inner| Difference { stream: wanted.name.clone(), inner })
        .collect()
}

/// The field of a stream that takes no more messages.
const SEALED: &str = "sealed";

/// Returns the configuration that `found` becomes: our fields as wanted, and all others as they are.
pub(super) fn merged(wanted: &Config, found: Config) -> Config {
    Config {
        subjects: wanted.subjects.clone(),
        sources: wanted.sources.clone(),
        discard: wanted.discard,
        num_replicas: wanted.num_replicas,
        max_age: wanted.max_age,
        duplicate_window: wanted.duplicate_window,
        max_bytes: wanted.max_bytes,
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_message_size: wanted.max_message_size,
        allow_direct: wanted.allow_direct,
        no_ack: wanted.no_ack,
        discard_new_per_subject: wanted.discard_new_per_subject,
        subject_transform: wanted.subject_transform.clone(),
        allow_rollup: wanted.allow_rollup,
        subject_delete_marker_ttl: wanted.subject_delete_marker_ttl,
        consumer_limits: wanted.consumer_limits.clone(),
        allow_atomic_publish: wanted.allow_atomic_publish || found.allow_atomic_publish,
        ..found
    }
}

/// Returns the fields that a guarantee rests on.
fn fields(config: &Config) -> [Setting; 25] {
    let limit = |limit: i64| if limit < 0 { none() } else { limit.to_string() };
    let mut subjects = config.subjects.clone();
    subjects.sort();
    [
        Setting::immutable(SEALED, config.sealed.to_string()),
        Setting::immutable("mirror", config.mirror.as_ref().map_or_else(none, |mirror| mirror.name.clone())),
        Setting::mutable("subjects", format!("{subjects:?}")),
        Setting::mutable("sources", sources(config)),
        Setting::immutable("retention", format!("{:?}", config.retention)),
        Setting::immutable("storage", format!("{:?}", config.storage)),
        Setting::mutable("discard", format!("{:?}", config.discard)),
        Setting::mutable("replicas", config.num_replicas.to_string()),
        Setting::mutable("max_age", format!("{:?}", config.max_age)),
        Setting::mutable("duplicate_window", format!("{:?}", config.duplicate_window)),
        Setting::mutable("max_bytes", limit(config.max_bytes)),
        Setting::mutable("max_messages", limit(config.max_messages)),
        Setting::mutable("max_messages_per_subject", limit(config.max_messages_per_subject)),
        Setting::mutable("max_message_size", limit(config.max_message_size.into())),
        Setting::mutable("allow_direct", config.allow_direct.to_string()),
        Setting::mutable("allow_atomic_publish", config.allow_atomic_publish.to_string()),
        // Without acknowledgements, publishers do not learn what is stored.
        Setting::mutable("no_ack", config.no_ack.to_string()),
        Setting::mutable("discard_new_per_subject", config.discard_new_per_subject.to_string()),
        // Subject and envelope would no longer agree.
        Setting::mutable("subject_transform", config.subject_transform.as_ref().map_or_else(none, transform)),
        // A publisher could remove what others have not seen.
        Setting::mutable("allow_rollup", config.allow_rollup.to_string()),
        // Markers of the server would be delivered as events.
        Setting::mutable(
            "subject_delete_marker_ttl",
            config.subject_delete_marker_ttl.map_or_else(none, |ttl| format!("{ttl:?}")),
        ),
        // Durables would be removed while they are idle, or refused.
        Setting::mutable("consumer_limits", consumer_limits(config)),
        // A redriven dead letter could not be removed.
        Setting::immutable("deny_delete", config.deny_delete.to_string()),
        // Acknowledged messages would not survive a crash.
        Setting::immutable(
            "persist_mode",
            format!("{:?}", config.persist_mode.unwrap_or(PersistenceMode::Default)),
        ),
        Setting::immutable("allow_message_counter", config.allow_message_counter.to_string()),
    ]
}

fn none() -> String {
    "none".to_owned()
}

fn transform(transform: &SubjectTransform) -> String {
    format!("{} -> {}", transform.source, transform.destination)
}

fn consumer_limits(config: &Config) -> String {
    let limits = config.consumer_limits.clone().unwrap_or_default();
    let idle = Some(limits.inactive_threshold).filter(|threshold| !threshold.is_zero());
    let pending = Some(limits.max_ack_pending).filter(|pending| *pending > 0);
    let idle = idle.map(|threshold| format!("inactive_threshold {threshold:?}"));
    let pending = pending.map(|pending| format!("max_ack_pending {pending}"));
    let limits: Vec<_> = idle.into_iter().chain(pending).collect();
    if limits.is_empty() { none() } else { limits.join(", ") }
}

fn sources(config: &Config) -> String {
    let sources = config.sources.iter().flatten().map(|source| {
        let transforms = source.subject_transforms.iter().filter(|found| !is_mark(found)).map(transform);
        let filter = source.filter_subject.iter().map(|filter| format!("only {filter}"));
        let external = source.external.iter().map(|external| {
            let delivery = external.delivery_prefix.as_deref().unwrap_or_default();
            format!("by {} to {delivery}", external.api_prefix)
        });
        let durable = source.consumer.iter().map(|durable| format!("from durable {}", durable.name));
        let parts: Vec<_> = transforms.chain(filter).chain(external).chain(durable).collect();
        format!("{} ({})", source.name, parts.join(", "))
    });
    let sources: Vec<_> = sources.collect();
    if sources.is_empty() { none() } else { sources.join("; ") }
}
