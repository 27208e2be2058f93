//! The five events of a unit.

use crate::contract::{
    event::{Identity, Occurrence, event, text_setters},
    fingerprint::Fingerprint,
    uri::{ResourceUri, UnitUri},
};
use serde::{Deserialize, Serialize};

/// `unit.published`: a unit became available under this fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnitPublished {
    /// The unit.
    pub uri: UnitUri,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The status it had before, such as `draft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_status: Option<String>,
    /// Who did it, such as `user:alice@example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// 2 or more when the same transition really happened again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<Occurrence>,
}

impl UnitPublished {
    /// `uri` was published with `fingerprint`.
    #[must_use]
    pub fn new(uri: UnitUri, fingerprint: Fingerprint) -> Self {
        Self { uri, fingerprint, previous_status: None, actor: None, occurrence: None }
    }

    text_setters! {
        with_previous_status => previous_status: "Sets the status it had before, such as `draft`.";
        with_actor => actor: "Sets who did it, such as `user:alice@example.com`.";
    }

    /// Marks the same transition as one that really happened again.
    #[must_use]
    pub fn with_occurrence(mut self, occurrence: Occurrence) -> Self {
        self.occurrence = Some(occurrence);
        self
    }
}

event!(UnitPublished, uri, fingerprint, |e| Identity::unit(&e.uri, e.occurrence));

/// `unit.deprecated`: a unit should no longer be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnitDeprecated {
    /// The unit.
    pub uri: UnitUri,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The unit to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<UnitUri>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// 2 or more when the same transition really happened again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<Occurrence>,
}

impl UnitDeprecated {
    /// `uri` with `fingerprint` was deprecated.
    #[must_use]
    pub fn new(uri: UnitUri, fingerprint: Fingerprint) -> Self {
        Self { uri, fingerprint, reason: None, successor: None, actor: None, occurrence: None }
    }

    text_setters! {
        with_reason => reason: "Sets why.";
        with_actor => actor: "Sets who did it.";
    }

    /// Sets the unit to use instead.
    #[must_use]
    pub fn with_successor(mut self, successor: UnitUri) -> Self {
        self.successor = Some(successor);
        self
    }

    /// Marks the same transition as one that really happened again.
    #[must_use]
    pub fn with_occurrence(mut self, occurrence: Occurrence) -> Self {
        self.occurrence = Some(occurrence);
        self
    }
}

event!(UnitDeprecated, uri, fingerprint, |e| Identity::unit(&e.uri, e.occurrence));

/// `unit.tampered`: a unit's content no longer has the fingerprint it was published with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnitTampered {
    /// The unit.
    pub uri: UnitUri,
    /// The fingerprint it was published with.
    pub expected_fingerprint: Fingerprint,
    /// The fingerprint it has.
    pub actual_fingerprint: Fingerprint,
    /// Who found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// 2 or more when it was restored and tampered with in the same way again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<Occurrence>,
}

impl UnitTampered {
    /// `uri` was published with the `expected` fingerprint and has the `actual` one.
    #[must_use]
    pub fn new(uri: UnitUri, expected: Fingerprint, actual: Fingerprint) -> Self {
        Self {
            uri,
            expected_fingerprint: expected,
            actual_fingerprint: actual,
            actor: None,
            occurrence: None,
        }
    }

    text_setters! {
        with_actor => actor: "Sets who found it.";
    }

    /// Marks the same transition as one that really happened again.
    #[must_use]
    pub fn with_occurrence(mut self, occurrence: Occurrence) -> Self {
        self.occurrence = Some(occurrence);
        self
    }
}

event!(UnitTampered, uri, actual_fingerprint, |e| Identity::unit(&e.uri, e.occurrence));

/// `unit.fingerprint.verified`: a unit's content was found to have its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnitFingerprintVerified {
    /// The unit.
    pub uri: UnitUri,
    /// The fingerprint that was verified.
    pub fingerprint: Fingerprint,
    /// Who verified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// 2 or more when it was verified again and that shall be announced again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<Occurrence>,
}

impl UnitFingerprintVerified {
    /// `uri` was verified to have `fingerprint`.
    #[must_use]
    pub fn new(uri: UnitUri, fingerprint: Fingerprint) -> Self {
        Self { uri, fingerprint, actor: None, occurrence: None }
    }

    text_setters! {
        with_actor => actor: "Sets who verified it.";
    }

    /// Marks the same transition as one that really happened again.
    #[must_use]
    pub fn with_occurrence(mut self, occurrence: Occurrence) -> Self {
        self.occurrence = Some(occurrence);
        self
    }
}

event!(UnitFingerprintVerified, uri, fingerprint, |e| Identity::unit(&e.uri, e.occurrence));

/// `unit.import.resolved`: something that a unit imports was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnitImportResolved {
    /// The unit that imports.
    pub importer: UnitUri,
    /// What it imports.
    pub imported: ResourceUri,
    /// The fingerprint of what was found.
    pub fingerprint: Fingerprint,
    /// What found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl UnitImportResolved {
    /// The import of `imported` by `importer` was resolved to content with `fingerprint`.
    #[must_use]
    pub fn new(importer: UnitUri, imported: ResourceUri, fingerprint: Fingerprint) -> Self {
        Self { importer, imported, fingerprint, resolver: None, actor: None }
    }

    text_setters! {
        with_resolver => resolver: "Sets what found it.";
        with_actor => actor: "Sets who asked for it.";
    }
}

event!(UnitImportResolved, importer, fingerprint, |e| Identity::import(&e.importer, &e.imported));
