//! What is stored for a slot.

use crate::dedupe::Slot;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// The value of a key, as JSON. When it was written is the server's timestamp of the revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum Record {
    Held {
        claimant: Uuid,
        attempt: u32,
        lease_ms: u64,
    },
    /// Released or forgotten by the grant of `fence`, after so many attempts.
    Free {
        attempt: u32,
        fence: u64,
    },
    /// Settled by the grant of `fence`.
    Settled {
        fence: u64,
    },
}

impl Record {
    pub(super) fn held(slot: &Slot, attempt: u32, lease: Duration) -> Self {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        Self::Held { claimant: slot.claimant(), attempt, lease_ms }
    }
}
