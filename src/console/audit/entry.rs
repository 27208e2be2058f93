//! The entries of the audit stream. Their JSON is described in `docs::console`.

use crate::{
    console::pages::feed_name,
    contract::{consumer_name::ConsumerName, envelope::timestamp, subject::Feed},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use time::OffsetDateTime;
use uuid::Uuid;

/// The thing that is acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::console) enum Target {
    Letter(u64),
    /// By its id.
    Group(String),
    Durable(Feed, ConsumerName),
}

/// The kind of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::console) enum Action {
    Redrive,
    Discard,
    Stop,
    Pause,
    Resume,
}

/// The state of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::console) enum Phase {
    Begun,
    Done,
    Failed,
}

/// An entry of the audit stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::console) struct Entry {
    /// The same for what was begun and its outcome.
    pub(in crate::console) id: Uuid,
    pub(in crate::console) time: String,
    pub(in crate::console) who: String,
    pub(in crate::console) action: Action,
    pub(in crate::console) target: String,
    pub(in crate::console) phase: Phase,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(in crate::console) settings: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::console) outcome: Option<String>,
}

impl Target {
    /// Returns the subject of entries about it.
    pub(super) fn subject(&self) -> String {
        subject_of(&self.to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(sequence) => write!(f, "dead-letters/{sequence}"),
            Self::Group(id) => write!(f, "groups/{id}"),
            Self::Durable(feed, name) => write!(f, "durables/{}/{name}", feed_name(*feed)),
        }
    }
}

impl Entry {
    /// Returns the entry of what is about to be done.
    pub(in crate::console) fn begun(who: &str, action: Action, target: &Target, settings: Value) -> Self {
        let (who, target) = (who.to_owned(), target.to_string());
        let (id, phase) = (Uuid::new_v4(), Phase::Begun);
        Self { id, time: now(), who, action, target, phase, settings, outcome: None }
    }

    /// Returns the entry of its outcome.
    pub(in crate::console) fn ended(&self, phase: Phase, outcome: impl Into<String>) -> Self {
        Self { time: now(), phase, outcome: Some(outcome.into()), settings: Value::Null, ..self.clone() }
    }

    pub(super) fn subject(&self) -> String {
        subject_of(&self.target)
    }

    pub(super) fn message_id(&self) -> String {
        format!("{}:{}", self.id, self.phase.as_str())
    }
}

impl Action {
    pub(in crate::console) const fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Discard => "discard",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl Phase {
    pub(in crate::console) const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

fn subject_of(target: &str) -> String {
    format!("stratt.audit.{}", target.replace('/', "."))
}

fn now() -> String {
    timestamp::format(OffsetDateTime::now_utc())
}
