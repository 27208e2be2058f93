//! The settings of a stream that break a guarantee.

use crate::{
    consumer::checks::streams::{age, kept},
    topology::SMALLEST_DEAD_LETTER,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy};
use std::time::Duration;

/// Returns the problem of a stream of events or dead letters, no matter who writes it.
pub(crate) fn unfit(stream: &Config) -> Option<String> {
    let is_limited = stream.max_bytes > 0 || stream.max_messages > 0;
    let drops_by_subject = stream.max_messages_per_subject > 0
        && !(stream.discard == DiscardPolicy::New && stream.discard_new_per_subject);
    let problem = if stream.sealed {
        "is sealed and accepts no more messages: recreate it".to_owned()
    } else if stream.retention != RetentionPolicy::Limits {
        format!(
            "has retention {:?}, which removes messages that others have not seen: recreate it with limits",
            stream.retention
        )
    } else if drops_by_subject || (is_limited && stream.discard == DiscardPolicy::Old) {
        "has a size limit and discards old messages, perhaps unseen: discard new ones or remove the limit"
            .to_owned()
    } else if stream.subject_delete_marker_ttl.is_some() {
        "has a subject_delete_marker_ttl: its markers would be delivered as events: remove it".to_owned()
    } else if stream.allow_rollup {
        "has allow_rollup, which lets a publisher remove messages that others have not seen: turn it off"
            .to_owned()
    } else if stream.subject_transform.is_some() {
        "has a subject_transform, after which subject and envelope no longer agree: remove it".to_owned()
    } else {
        return None;
    };
    Some(format!("{} {problem}", stream.name))
}

/// Returns the problem of a stream that this crate publishes to, with repeats of a message for as long as `budget`.
pub(crate) fn written(stream: &Config, budget: Duration) -> Option<String> {
    let problem = if stream.mirror.is_some() {
        "is a mirror, which accepts no messages: recreate it".to_owned()
    } else if stream.no_ack {
        "has no_ack, so that a publisher cannot know what is stored: turn it off".to_owned()
    } else if stream.persist_mode == Some(PersistenceMode::Async) {
        "has persist_mode Async, which acknowledges messages that a crash loses: recreate it".to_owned()
    } else if stream.allow_message_counter {
        "has allow_message_counter and accepts only counts: recreate it".to_owned()
    } else if stream.duplicate_window <= budget {
        format!(
            "has a duplicate window of {:?}, not longer than the retry time of a publish ({budget:?}): lengthen it",
            stream.duplicate_window
        )
    } else {
        return None;
    };
    Some(format!("{} {problem}", stream.name))
}

pub(crate) fn takes_no_dead_letter(dead_letters: &Config) -> Option<String> {
    let (name, fits) = (&dead_letters.name, dead_letters.max_message_size);
    (1..SMALLEST_DEAD_LETTER).contains(&fits).then(|| {
        format!(
            "{name} has a max_message_size of {fits}, but a dead letter may need {SMALLEST_DEAD_LETTER}: raise it"
        )
    })
}

pub(crate) fn forgets_first(events: &Config, dead_letters: &Config) -> Option<String> {
    (age(dead_letters) < age(events)).then(|| {
        format!(
            "{} keeps messages {}, but {} {}: lengthen the first",
            dead_letters.name,
            kept(dead_letters),
            events.name,
            kept(events)
        )
    })
}
