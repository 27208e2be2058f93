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
    Held {
        claimant: Uuid,
        attempt: u32,
        lease_ms: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        lapsed: u32,
        /// The fence of the grant, if the lease was renewed. Otherwise it is the revision of this record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fence: Option<u64>,
    },
    /// Released, deferred or forgotten by the grant of `fence`, with the remaining counts of attempts and lapses.
    Free {
        attempt: u32,
        #[serde(default, skip_serializing_if = "is_zero")]
        lapsed: u32,
        fence: u64,
    },
    /// Settled by the grant of `fence`.
    Settled { fence: u64 },
}

/// The counts of a slot: the claims granted, and those of them that lapsed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) attempt: u32,
    pub(super) lapsed: u32,
}

impl Counts {
    /// The counts of a slot at its first claim.
    pub(super) const FIRST: Self = Self { attempt: 1, lapsed: 0 };

    /// Returns the counts of the next claim.
    pub(super) fn next(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }

    /// Returns the counts of the next claim, after the lease of this one has expired.
    pub(super) fn next_after_lapse(self) -> Self {
        Self { lapsed: self.lapsed.saturating_add(1), ..self.next() }
    }
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
    pub(super) const DELETED: Self = Self::forgotten(0);

    pub(super) fn held(slot: &Slot, Counts { attempt, lapsed }: Counts, lease: Duration) -> Self {
        Self::Held { claimant: slot.claimant(), attempt, lease_ms: lease_ms(lease), lapsed, fence: None }
    }

    pub(super) const fn forgotten(fence: u64) -> Self {
        Self::Free { attempt: 0, lapsed: 0, fence }
    }

    /// Returns this record with a lease that was renewed, if it is held by the grant of `fence` at this revision. The
    /// lease ends `lease` from now, or when it did before, and begins with the revision that this record is written as.
    pub(super) fn renewed(&self, revision: u64, fence: u64, lease: Duration, age: Duration) -> Option<Self> {
        match *self {
            Self::Held { claimant, attempt, lease_ms: before, lapsed, .. }
                if self.is_held_by(fence, revision) =>
            {
                let left = Duration::from_millis(before).saturating_sub(age);
                let lease_ms = lease_ms(lease.max(left));
                Some(Self::Held { claimant, attempt, lease_ms, lapsed, fence: Some(fence) })
            }
            _ => None,
        }
    }

    /// Returns whether this record, read at this revision, is held by the grant of `fence`.
    pub(super) fn is_held_by(&self, fence: u64, revision: u64) -> bool {
        matches!(self, Self::Held { fence: granted, .. } if granted.unwrap_or(revision) == fence)
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

/// Returns the lease in milliseconds, rounded up, since it must not be cut short.
fn lease_ms(lease: Duration) -> u64 {
    u64::try_from(lease.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = r#"{"v":1,"state":"held","claimant":"00000000-0000-0000-0000-000000000007","attempt":2,"leaseMs":40000}"#;

    #[test]
    fn the_stored_form_is_fixed_since_other_versions_read_it() {
        let held = |lapsed, fence| {
            let claimant = Uuid::from_u128(7);
            Record::Held { claimant, attempt: 2, lease_ms: 40_000, lapsed, fence }
        };
        let renewed = HELD.replace("40000}", "40000,\"lapsed\":1,\"fence\":9}");
        let free = |lapsed| Record::Free { attempt: 2, lapsed, fence: 9 };
        let settled = Record::Settled { fence: 9 };
        for (record, stored) in [
            (held(0, None), HELD),
            (held(1, Some(9)), &renewed),
            (free(0), r#"{"v":1,"state":"free","attempt":2,"fence":9}"#),
            (free(1), r#"{"v":1,"state":"free","attempt":2,"lapsed":1,"fence":9}"#),
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
        let claimant = Uuid::nil();
        let shortest = Record::Held { claimant, attempt: 1, lease_ms: 0, lapsed: 0, fence: None };
        let shortest = shortest.encode().unwrap();
        for record in [
            Record::Free { attempt: u32::MAX, lapsed: u32::MAX, fence: u64::MAX },
            Record::Settled { fence: u64::MAX },
        ] {
            assert!(record.encode().unwrap().len() < shortest.len(), "{record:?}");
        }
    }

    #[test]
    fn a_renewal_keeps_fence_and_counts_and_never_shortens() {
        const SECOND: Duration = Duration::from_secs(1);
        let claimant = Uuid::nil();
        let held = Record::Held { claimant, attempt: 2, lease_ms: 5000, lapsed: 1, fence: None };
        for (revision, of, lease, age, wanted) in [
            (7, &held, 9 * SECOND, SECOND, 9000),
            (7, &held, 3 * SECOND, SECOND, 4000),
            (7, &held, 3 * SECOND, 60 * SECOND, 3000),
        ] {
            let renewed = of.renewed(revision, 7, lease, age).unwrap();
            let fence = Some(7);
            assert_eq!(renewed, Record::Held { claimant, attempt: 2, lease_ms: wanted, lapsed: 1, fence });
            // By the fence, at whichever revision.
            assert!(renewed.is_held_by(7, 8) && !renewed.is_held_by(8, 8));
            assert!(renewed.renewed(8, 7, lease, age).is_some());
            assert_eq!(renewed.renewed(8, 8, lease, age), None);
        }
        let free = Record::Free { attempt: 2, lapsed: 0, fence: 7 };
        for over in [free, Record::Settled { fence: 7 }] {
            assert_eq!(over.renewed(7, 7, SECOND, SECOND), None);
        }
        assert_eq!(held.renewed(8, 7, SECOND, SECOND), None);
    }

    #[test]
    fn a_lease_is_rounded_up() {
        let key = "1".repeat(64).parse().unwrap();
        let slot = Slot::new("tests".parse().unwrap(), key);
        for (lease, wanted) in
            [(Duration::from_micros(1), 1), (Duration::from_millis(5), 5), (Duration::MAX, u64::MAX)]
        {
            let held = Record::held(&slot, Counts::FIRST, lease);
            let Record::Held { lease_ms, .. } = held else { panic!("not held") };
            assert_eq!(lease_ms, wanted, "{lease:?}");
        }
    }
}
