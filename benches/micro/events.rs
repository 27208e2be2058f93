//! One of each of the seven events, with their usual fields.

use stratt_event_bridge::{
    ChainGateFired, ChainGateResolved, Fingerprint, GateOutcome, UnitDeprecated, UnitFingerprintVerified,
    UnitImportResolved, UnitPublished, UnitTampered, UnitUri,
};

const ACTOR: &str = "user:alice@example.com";

pub(crate) fn published() -> UnitPublished {
    UnitPublished::new(unit(), fingerprint()).with_previous_status("draft").with_actor(ACTOR)
}

pub(crate) fn deprecated() -> UnitDeprecated {
    let successor = "strat://dev/rule/no-secrets@2.0.0".parse().unwrap();
    let event = UnitDeprecated::new(unit(), fingerprint()).with_successor(successor);
    event.with_reason("superseded").with_actor(ACTOR)
}

pub(crate) fn tampered() -> UnitTampered {
    let actual = format!("blake3:{}", "f0".repeat(32)).parse().unwrap();
    UnitTampered::new(unit(), fingerprint(), actual).with_actor(ACTOR)
}

pub(crate) fn verified() -> UnitFingerprintVerified {
    UnitFingerprintVerified::new(unit(), fingerprint()).with_actor(ACTOR)
}

pub(crate) fn import_resolved() -> UnitImportResolved {
    let imported = "choco://docs/guides/no-secrets".parse().unwrap();
    UnitImportResolved::new(unit(), imported, fingerprint()).with_resolver("choco").with_actor(ACTOR)
}

pub(crate) fn gate_fired() -> ChainGateFired {
    let (gate, run) = ("security-review".parse().unwrap(), "run-20260331-0042".parse().unwrap());
    ChainGateFired::new(chain(), gate, run, fingerprint()).with_actor(ACTOR)
}

pub(crate) fn gate_resolved() -> ChainGateResolved {
    let (gate, run) = ("security-review".parse().unwrap(), "run-20260331-0042".parse().unwrap());
    let event = ChainGateResolved::new(chain(), gate, run, fingerprint(), GateOutcome::Pass);
    event.with_reason("no findings").with_resolved_by(ACTOR)
}

fn unit() -> UnitUri {
    "strat://dev/rule/no-secrets@1.0.0".parse().unwrap()
}

fn chain() -> UnitUri {
    "strat://dev/chain/release-review@1.0.0".parse().unwrap()
}

fn fingerprint() -> Fingerprint {
    format!("blake3:{}", "0f".repeat(32)).parse().unwrap()
}
