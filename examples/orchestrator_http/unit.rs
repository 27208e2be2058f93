//! A unit, as it is stored and as it is shown.

use crate::content;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use stratt_event_bridge::{Fingerprint, ParseError, UnitUri};

/// A unit. Its content, and so its fingerprint, belongs to its version for good.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) uri: UnitUri,
    /// As it is stored, which may not be what was published.
    pub(crate) content: String,
    /// The fingerprint of the published content.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) status: Status,
    /// The reason of its deprecation.
    pub(crate) reason: Option<String>,
    /// The unit to use instead.
    pub(crate) successor: Option<UnitUri>,
    /// The fingerprint of the content that the last verification found.
    pub(crate) found: Option<Fingerprint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Published,
    Deprecated,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Deprecated => "deprecated",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Published, Self::Deprecated].into_iter().find(|status| status.as_str() == text)
    }
}

/// The result of the last verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Integrity {
    Unverified,
    Verified,
    Tampered,
}

impl Unit {
    pub(crate) fn integrity(&self) -> Integrity {
        match &self.found {
            None => Integrity::Unverified,
            Some(found) if *found == self.fingerprint => Integrity::Verified,
            Some(_) => Integrity::Tampered,
        }
    }

    /// The fingerprint of what is stored now.
    pub(crate) fn recompute(&self) -> Result<Fingerprint, ParseError> {
        content::fingerprint(&self.content)
    }

    /// As it is shown, with its content or without.
    pub(crate) fn shown(&self, with_content: bool) -> Shown<'_> {
        let content = with_content.then(|| self.content_as_json()).flatten();
        Shown {
            uri: &self.uri,
            fingerprint: &self.fingerprint,
            status: self.status,
            reason: self.reason.as_deref(),
            successor: self.successor.as_ref(),
            integrity: self.integrity(),
            actual_fingerprint: self.found.as_ref().filter(|found| **found != self.fingerprint),
            content,
        }
    }

    /// Returns the content as JSON; content that was changed into something else is shown as a text.
    fn content_as_json(&self) -> Option<Box<RawValue>> {
        RawValue::from_string(self.content.clone()).or_else(|_| to_raw_value(&self.content)).ok()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown<'a> {
    uri: &'a UnitUri,
    fingerprint: &'a Fingerprint,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    successor: Option<&'a UnitUri>,
    integrity: Integrity,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_fingerprint: Option<&'a Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Box<RawValue>>,
}
