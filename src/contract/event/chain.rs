//! The two events of a chain's gates.

use crate::contract::{
    event::{Identity, event, text_setters},
    fingerprint::Fingerprint,
    uri::UnitUri,
    value::{is_token, text_value},
};
use serde::{Deserialize, Serialize};

const LABEL_MAX_BYTES: usize = 128;

/// The name of a gate of a chain: `[A-Za-z0-9._-]{1,128}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateName(Box<str>);

text_value!(
    GateName,
    "gate",
    |text| is_token(text, LABEL_MAX_BYTES, is_label_byte),
    "must be 1 to 128 of A-Z a-z 0-9 . _ -",
    LABEL_MAX_BYTES,
    "[A-Za-z0-9._-]+"
);

/// The id of one run of a chain: `[A-Za-z0-9._-]{1,128}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Box<str>);

text_value!(
    RunId,
    "run id",
    |text| is_token(text, LABEL_MAX_BYTES, is_label_byte),
    "must be 1 to 128 of A-Z a-z 0-9 . _ -",
    LABEL_MAX_BYTES,
    "[A-Za-z0-9._-]+"
);

fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

/// The outcome of a gate. Complete: a gate passes or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum GateOutcome {
    /// The chain goes on.
    Pass,
    /// The chain stops.
    Fail,
}

/// `chain.gate.fired`: a run of a chain reached a gate and waits there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChainGateFired {
    /// The chain.
    pub chain_uri: UnitUri,
    /// The gate.
    pub gate: GateName,
    /// The run.
    pub run_id: RunId,
    /// The fingerprint of the chain.
    pub fingerprint: Fingerprint,
    /// Who or what started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl ChainGateFired {
    /// Run `run_id` of `chain_uri`, which has `fingerprint`, reached `gate`.
    #[must_use]
    pub fn new(chain_uri: UnitUri, gate: GateName, run_id: RunId, fingerprint: Fingerprint) -> Self {
        Self { chain_uri, gate, run_id, fingerprint, actor: None }
    }

    text_setters! {
        with_actor => actor: "Sets who or what started the run.";
    }
}

event!(ChainGateFired, chain_uri, fingerprint, |e| Identity::gate(&e.chain_uri, &e.gate, &e.run_id));

/// `chain.gate.resolved`: a gate was passed or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChainGateResolved {
    /// The chain.
    pub chain_uri: UnitUri,
    /// The gate.
    pub gate: GateName,
    /// The run.
    pub run_id: RunId,
    /// The fingerprint of the chain.
    pub fingerprint: Fingerprint,
    /// Passed or failed.
    pub outcome: GateOutcome,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// Who or what started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl ChainGateResolved {
    /// Run `run_id` of `chain_uri`, which has `fingerprint`, had `gate` resolved with `outcome`.
    #[must_use]
    pub fn new(
        chain_uri: UnitUri,
        gate: GateName,
        run_id: RunId,
        fingerprint: Fingerprint,
        outcome: GateOutcome,
    ) -> Self {
        Self { chain_uri, gate, run_id, fingerprint, outcome, reason: None, resolved_by: None, actor: None }
    }

    text_setters! {
        with_reason => reason: "Sets why.";
        with_resolved_by => resolved_by: "Sets who decided.";
        with_actor => actor: "Sets who or what started the run.";
    }
}

event!(ChainGateResolved, chain_uri, fingerprint, |e| Identity::gate(&e.chain_uri, &e.gate, &e.run_id));
