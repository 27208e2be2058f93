//! The stored value of a slot.

use crate::dedupe::{Slot, StoreError, StoreErrorKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// The value of a key. Its time is the server's timestamp of the revision.
///
/// A held record is longer than any other, so that its replacement fits into a full bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum Record {
    /// Held by a claimant.
    Held { claimant: Uuid, attempt: u32, lease_ms: u64 },
    /// Released, deferred or forgotten by the grant of `fence`, with the remaining count of attempts.
    Free { attempt: u32, fence: u64 },
    /// Settled by the grant of `fence`.
    Settled { fence: u64 },
}

/// The stored form of a record, in JSON. Records of a later version are rejected, not misread.
#[derive(Serialize, Deserialize)]
struct Versioned<R> {
    v: u32,
    #[serde(flatten)]
    record: R,
}

const VERSION: u32 = 1;

impl Record {
    /// The record of a key that was deleted by hand: nothing is known about it.
    pub(super) const DELETED: Self = Self::Free { attempt: 0, fence: 0 };

    pub(super) fn held(slot: &Slot, attempt: u32, lease: Duration) -> Self {
        // Rounded up, since a lease must not be cut short.
        let lease_ms = u64::try_from(lease.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self::Held { claimant: slot.claimant(), attempt, lease_ms }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Versioned { v: VERSION, record: self })
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || StoreError::new(StoreErrorKind::Corrupt);
        let Versioned { v, record } = serde_json::from_slice(value).map_err(|e| corrupt().caused_by(e))?;
        if v == VERSION {
            Ok(record)
        } else {
            Err(corrupt()
                .with_message(format!("slot has version {v}, but this program reads version {VERSION} only")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = r#"{"v":1,"state":"held","claimant":"00000000-0000-0000-0000-000000000007","attempt":2,"leaseMs":40000}"#;

    #[test]
    fn the_stored_form_is_fixed_since_other_versions_read_it() {
        let held = Record::Held { claimant: Uuid::from_u128(7), attempt: 2, lease_ms: 40_000 };
        let free = Record::Free { attempt: 2, fence: 9 };
        let settled = Record::Settled { fence: 9 };
        for (record, stored) in [
            (held, HELD),
            (free, r#"{"v":1,"state":"free","attempt":2,"fence":9}"#),
            (settled, r#"{"v":1,"state":"settled","fence":9}"#),
        ] {
            assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), stored);
            assert_eq!(Record::decode(stored.as_bytes()).unwrap(), record);
        }
    }

    #[test]
    fn a_record_of_another_version_or_program_is_corrupt() {
        let newer = HELD.replace("\"v\":1", "\"v\":2");
        let unversioned = HELD.replace("\"v\":1,", "");
        for value in [newer.as_str(), &unversioned, "", "null", "[1]", r#"{"v":1,"state":"lost"}"#] {
            let error = Record::decode(value.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{value}");
        }
    }

    #[test]
    fn a_record_that_replaces_a_held_one_is_shorter() {
        let shortest = Record::Held { claimant: Uuid::nil(), attempt: 1, lease_ms: 0 }.encode().unwrap();
        for record in
            [Record::Free { attempt: u32::MAX, fence: u64::MAX }, Record::Settled { fence: u64::MAX }]
        {
            assert!(record.encode().unwrap().len() < shortest.len(), "{record:?}");
        }
    }

    #[test]
    fn a_lease_is_rounded_up() {
        let key = "1".repeat(64).parse().unwrap();
        let slot = Slot::new("tests".parse().unwrap(), key);
        for (lease, wanted) in
            [(Duration::from_micros(1), 1), (Duration::from_millis(5), 5), (Duration::MAX, u64::MAX)]
        {
            let Record::Held { lease_ms, .. } = Record::held(&slot, 1, lease) else { panic!("not held") };
            assert_eq!(lease_ms, wanted, "{lease:?}");
        }
    }
}
