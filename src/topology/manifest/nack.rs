//! The streams as resources of NACK, the controller of JetStream for Kubernetes.

use crate::topology::{Topology, TopologyError};
use async_nats::jetstream::stream::{Config, Source, StorageType};
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt::Write, time::Duration};

impl Topology {
    /// Returns the streams as resources of kind `Stream` for [NACK](https://github.com/nats-io/nack), in YAML, to be
    /// given to `kubectl apply`.
    ///
    /// Deleting a resource leaves its stream, and what is stored in it. NACK orders nothing: where `CHOCO_STRATT` comes
    /// first, its source begins once `STRATT_EVENTS` is there.
    ///
    /// # Errors
    ///
    /// As for [`to_json`](Self::to_json).
    pub fn to_nack(&self) -> Result<String, TopologyError> {
        let resources: Vec<_> = self.written()?.iter().map(resource).collect();
        Ok(resources.join("---\n"))
    }
}

/// Writes each setting on a line, its value as JSON, which YAML includes.
fn resource(stream: &Config) -> String {
    let name = stream.name.to_lowercase().replace('_', "-");
    let mut text =
        format!("apiVersion: jetstream.nats.io/v1beta2\nkind: Stream\nmetadata:\n  name: {name}\nspec:\n");
    for (setting, value) in settings(stream) {
        if !value.is_null() {
            // A `String` takes all that is written.
            let _written = writeln!(text, "  {setting}: {value}");
        }
    }
    text
}

fn settings(stream: &Config) -> [(&'static str, Value); 16] {
    let sources = stream.sources.as_ref().map(|sources| sources.iter().map(source).collect::<Vec<_>>());
    [
        ("name", json!(stream.name)),
        ("subjects", json!(stream.subjects)),
        ("sources", json!(sources)),
        ("retention", written(&stream.retention)),
        ("discard", written(&stream.discard)),
        ("storage", json!(if stream.storage == StorageType::File { "file" } else { "memory" })),
        ("replicas", json!(stream.num_replicas)),
        ("maxAge", duration(stream.max_age)),
        ("duplicateWindow", duration(stream.duplicate_window)),
        ("maxBytes", json!(stream.max_bytes)),
        ("maxMsgs", json!(stream.max_messages)),
        ("maxMsgSize", json!(stream.max_message_size)),
        ("allowDirect", json!(stream.allow_direct)),
        ("allowAtomicPublish", json!(stream.allow_atomic_publish.then_some(true))),
        ("firstSequence", json!(stream.first_sequence)),
        ("preventDelete", json!(true)),
    ]
}

/// Returns a word of the API of JetStream, which NACK has too.
fn written(word: &impl Serialize) -> Value {
    serde_json::to_value(word).unwrap_or_default()
}

/// The source of a stream as NACK names its parts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceOf<'a> {
    name: &'a str,
    subject_transforms: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_api_prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_deliver_prefix: Option<&'a str>,
}

fn source(source: &Source) -> SourceOf<'_> {
    let transforms = source.subject_transforms.iter();
    let external = source.external.as_ref();
    SourceOf {
        name: &source.name,
        subject_transforms: transforms
            .map(|transform| json!({ "source": transform.source, "dest": transform.destination }))
            .collect(),
        external_api_prefix: external.map(|external| external.api_prefix.as_str()),
        external_deliver_prefix: external.and_then(|external| external.delivery_prefix.as_deref()),
    }
}

/// Writes a duration as Go reads it; without limit it is left out.
fn duration(duration: Duration) -> Value {
    match duration.as_nanos() {
        0 => Value::Null,
        nanos if nanos % 1_000_000_000 == 0 => json!(format!("{}s", duration.as_secs())),
        nanos => json!(format!("{nanos}ns")),
    }
}
