//! With which settings a bucket cannot serve as a store.

use crate::dedupe::{StoreError, StoreErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy};

/// What is written for a slot has some 200 bytes, its header included.
const LARGEST_SLOT: i32 = 512;

/// Fails for a bucket that would lose what was settled, or that takes no writes of its own.
pub(super) fn must_serve(bucket: &str, found: &Config) -> Result<(), StoreError> {
    let own_keys = format!("$KV.{bucket}.>");
    let problem = if found.sealed {
        "is sealed and takes nothing any more".to_owned()
    } else if found.mirror.is_some() {
        "is a mirror, which takes no writes".to_owned()
    } else if found.retention != RetentionPolicy::Limits {
        format!("has retention {:?}, which removes what was settled; wanted limits", found.retention)
    } else if found.discard == DiscardPolicy::Old {
        "discards old keys when it is full; wanted discard new".to_owned()
    } else if found.discard_new_per_subject {
        "refuses to write a key twice (discard_new_per_subject)".to_owned()
    } else if !found.allow_direct {
        "does not allow direct gets".to_owned()
    } else if found.no_ack {
        "acknowledges no writes (no_ack)".to_owned()
    } else if found.persist_mode == Some(PersistenceMode::Async) {
        "has persist_mode Async, which acknowledges what a crash loses".to_owned()
    } else if found.subject_transform.is_some() {
        "has a subject_transform and keeps its keys under others".to_owned()
    } else if !found.subjects.contains(&own_keys) {
        format!("does not take its keys ({own_keys})")
    } else if (1..LARGEST_SLOT).contains(&found.max_message_size) {
        format!("has a max_message_size of {}; a slot may need {LARGEST_SLOT}", found.max_message_size)
    } else {
        return Ok(());
    };
    Err(StoreError::new(StoreErrorKind::Mismatch).with_message(format!("bucket {bucket} {problem}")))
}
