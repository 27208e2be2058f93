//! Check that the settings of a bucket suit a store.

use crate::dedupe::{StoreError, StoreErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy};

/// The space for a slot, whose message has some 200 bytes including its header.
const LARGEST_SLOT: i32 = 512;

/// Checks that the bucket does not lose settled slots and accepts writes.
pub(super) fn must_serve(bucket: &str, found: &Config) -> Result<(), StoreError> {
    let own_keys = format!("$KV.{bucket}.>");
    let problem = if found.sealed {
        "is sealed and takes no more writes".to_owned()
    } else if found.mirror.is_some() {
        "is a mirror, which takes no writes".to_owned()
    } else if found.retention != RetentionPolicy::Limits {
        format!("has retention {:?}, which removes settled slots; wanted limits", found.retention)
    } else if found.discard == DiscardPolicy::Old {
        "discards old keys when it is full; wanted discard new".to_owned()
    } else if found.discard_new_per_subject {
        "does not allow writing a key twice (discard_new_per_subject)".to_owned()
    } else if !found.allow_direct {
        "does not allow direct gets".to_owned()
    } else if found.no_ack {
        "does not acknowledge writes (no_ack)".to_owned()
    } else if found.persist_mode == Some(PersistenceMode::Async) {
        "has persist_mode Async, which acknowledges writes that a crash loses".to_owned()
    } else if found.subject_transform.is_some() {
        "has a subject_transform, which renames its keys".to_owned()
    } else if !found.subjects.contains(&own_keys) {
        format!("does not cover its own keys ({own_keys})")
    } else if (1..LARGEST_SLOT).contains(&found.max_message_size) {
        format!("has a max_message_size of {}; a slot may need {LARGEST_SLOT}", found.max_message_size)
    } else {
        return Ok(());
    };
    Err(StoreError::new(StoreErrorKind::Mismatch).with_message(format!("bucket {bucket} {problem}")))
}
