//! What is compared of a stream, and how a difference is told.

use async_nats::jetstream::stream::Config;
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
    // Nobody has to forbid batches.
    let allowed = found.allow_atomic_publish && wanted.allow_atomic_publish;
    let found = Config { allow_atomic_publish: allowed, ..found.clone() };
    let fields = fields(wanted).into_iter().zip(fields(&found));
    let differing = fields.filter(|((.., wanted), (.., found))| wanted != found);
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
        allow_atomic_publish: wanted.allow_atomic_publish || found.allow_atomic_publish,
        ..found
    }
}

/// Our fields: name, whether the server cannot change it, and its value as a person would write it.
fn fields(config: &Config) -> [(&'static str, bool, String); 14] {
    let limit = |limit: i64| if limit < 0 { "none".to_owned() } else { limit.to_string() };
    let mut subjects = config.subjects.clone();
    subjects.sort();
    [
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
    ]
}

fn sources(config: &Config) -> String {
    let sources = config.sources.iter().flatten().map(|source| {
        let transforms =
            source.subject_transforms.iter().map(|t| format!("{} -> {}", t.source, t.destination));
        let filter = source.filter_subject.iter().map(|filter| format!("only {filter}"));
        let external = source.external.iter().map(|external| {
            let delivery = external.delivery_prefix.as_deref().unwrap_or_default();
            format!("by {} to {delivery}", external.api_prefix)
        });
        let parts: Vec<_> = transforms.chain(filter).chain(external).collect();
        format!("{} ({})", source.name, parts.join(", "))
    });
    let sources: Vec<_> = sources.collect();
    if sources.is_empty() { "none".to_owned() } else { sources.join("; ") }
}
