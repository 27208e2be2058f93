//! What is compared of a stream, and how a difference is told.

use crate::topology::DEAD_LETTER_STREAM;
use async_nats::jetstream::stream::{Config, PersistenceMode, SubjectTransform};
use std::fmt;

/// A field of a stream that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    stream: String,
    field: &'static str,
    wanted: String,
    found: String,
    is_fixed: bool,
}

impl Difference {
    /// The name of the stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The name of the field.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }

    /// What it should be.
    #[must_use]
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// What it is.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// Whether the server cannot change it: the stream would have to be created anew.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, field, wanted, found, is_fixed } = self;
        write!(f, "{stream}: {field} is {found}, wanted {wanted}")?;
        if *is_fixed { f.write_str(" (cannot be changed)") } else { Ok(()) }
    }
}

/// Everything that differs between what a stream should be and what it is.
pub(super) fn differences(wanted: &Config, found: &Config) -> Vec<Difference> {
    let found = Config {
        // Nobody has to forbid batches.
        allow_atomic_publish: found.allow_atomic_publish && wanted.allow_atomic_publish,
        // What is in the other streams is never deleted.
        deny_delete: found.deny_delete && wanted.name == DEAD_LETTER_STREAM,
        ..found.clone()
    };
    let is_sealed = found.sealed;
    let fields = fields(wanted).into_iter().zip(fields(&found));
    let differing = fields.filter(|((name, _, wanted), (.., found))| {
        // Sealing changes other fields as well, and none of them can be changed any more.
        wanted != found && (!is_sealed || *name == SEALED)
    });
    differing
        .map(|((field, is_fixed, goal), (.., found))| Difference {
            stream: wanted.name.clone(),
            field,
            wanted: goal,
            found,
            is_fixed,
        })
        .collect()
}

/// The field of a stream that takes nothing any more.
const SEALED: &str = "sealed";

/// The configuration that `found` becomes: our fields as wanted, and all others as they are.
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

/// The fields that a guarantee rests on: name, whether the server cannot change it, and its value as a person would write it.
fn fields(config: &Config) -> [(&'static str, bool, String); 25] {
    let limit = |limit: i64| if limit < 0 { none() } else { limit.to_string() };
    let mut subjects = config.subjects.clone();
    subjects.sort();
    [
        (SEALED, true, config.sealed.to_string()),
        ("mirror", true, config.mirror.as_ref().map_or_else(none, |mirror| mirror.name.clone())),
        ("subjects", false, format!("{subjects:?}")),
        ("sources", false, sources(config)),
        ("retention", true, format!("{:?}", config.retention)),
        ("storage", true, format!("{:?}", config.storage)),
        ("discard", false, format!("{:?}", config.discard)),
        ("replicas", false, config.num_replicas.to_string()),
        ("max_age", false, format!("{:?}", config.max_age)),
        ("duplicate_window", false, format!("{:?}", config.duplicate_window)),
        ("max_bytes", false, limit(config.max_bytes)),
        ("max_messages", false, limit(config.max_messages)),
        ("max_messages_per_subject", false, limit(config.max_messages_per_subject)),
        ("max_message_size", false, limit(config.max_message_size.into())),
        ("allow_direct", false, config.allow_direct.to_string()),
        ("allow_atomic_publish", false, config.allow_atomic_publish.to_string()),
        // Without acknowledgements nobody knows what is stored.
        ("no_ack", false, config.no_ack.to_string()),
        ("discard_new_per_subject", false, config.discard_new_per_subject.to_string()),
        // Subject and envelope would no longer agree.
        ("subject_transform", false, config.subject_transform.as_ref().map_or_else(none, transform)),
        // Whoever publishes could remove what others have not seen.
        ("allow_rollup", false, config.allow_rollup.to_string()),
        // Markers of the server would be delivered as events.
        (
            "subject_delete_marker_ttl",
            false,
            config.subject_delete_marker_ttl.map_or_else(none, |ttl| format!("{ttl:?}")),
        ),
        // Durables would be removed when they are idle, or refused.
        ("consumer_limits", false, consumer_limits(config)),
        // A dead letter that was redriven could not be removed.
        ("deny_delete", true, config.deny_delete.to_string()),
        // What is acknowledged would not survive a crash.
        ("persist_mode", true, format!("{:?}", config.persist_mode.unwrap_or(PersistenceMode::Default))),
        ("allow_message_counter", true, config.allow_message_counter.to_string()),
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
        let transforms = source.subject_transforms.iter().map(transform);
        let filter = source.filter_subject.iter().map(|filter| format!("only {filter}"));
        let external = source.external.iter().map(|external| {
            let delivery = external.delivery_prefix.as_deref().unwrap_or_default();
            format!("by {} to {delivery}", external.api_prefix)
        });
        let parts: Vec<_> = transforms.chain(filter).chain(external).collect();
        format!("{} ({})", source.name, parts.join(", "))
    });
    let sources: Vec<_> = sources.collect();
    if sources.is_empty() { none() } else { sources.join("; ") }
}
