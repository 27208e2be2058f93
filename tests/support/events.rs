use stratt_event_bridge::{
    AnyEvent, ChainGateFired, ChainGateResolved, Fingerprint, GateOutcome, Source, UnitDeprecated,
    UnitFingerprintVerified, UnitImportResolved, UnitPublished, UnitTampered, UnitUri,
};

pub fn source() -> Source {
    "orchestrator-http:tests:0.1.0".parse().unwrap()
}

pub(crate) fn uri(slug: &str) -> UnitUri {
    format!("strat://dev/rule/{slug}@1.0.0").parse().unwrap()
}

/// Returns a different fingerprint for every number.
pub(crate) fn fingerprint(number: u64) -> Fingerprint {
    format!("blake3:{number:064x}").parse().unwrap()
}

/// Returns the number that a fingerprint was made from.
pub fn number_of(fingerprint: &Fingerprint) -> u64 {
    u64::from_str_radix(&fingerprint.digest()[48..], 16).unwrap()
}

pub fn published(slug: &str, number: u64) -> UnitPublished {
    UnitPublished::new(uri(slug), fingerprint(number))
}

pub fn deprecated(slug: &str, number: u64) -> UnitDeprecated {
    UnitDeprecated::new(uri(slug), fingerprint(number))
}

pub fn one_of_each() -> Vec<AnyEvent> {
    let chain: UnitUri = "strat://dev/chain/review@2.1.0".parse().unwrap();
    let (gate, run) = ("legal".parse().unwrap(), "run-1".parse().unwrap());
    vec![
        published("a", 1).into(),
        deprecated("a", 1).into(),
        UnitTampered::new(uri("b"), fingerprint(2), fingerprint(3)).into(),
        UnitFingerprintVerified::new(uri("c"), fingerprint(4)).into(),
        UnitImportResolved::new(uri("d"), "choco://docs/style".parse().unwrap(), fingerprint(5)).into(),
        ChainGateFired::new(chain.clone(), gate, run, fingerprint(6)).into(),
        ChainGateResolved::new(
            chain,
            "legal".parse().unwrap(),
            "run-1".parse().unwrap(),
            fingerprint(6),
            GateOutcome::Pass,
        )
        .into(),
    ]
}
