//! The journal: a line for each observation, written by many processes.

use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use stratt_event_bridge::{Delivery, Event, IdempotencyKey, PublishError, PublishReceipt, dedupe::Fence};
use uuid::Uuid;

/// A file of JSON lines that many processes of one machine append to.
#[derive(Debug)]
pub struct Journal {
    file: File,
    process: u32,
}

/// One line: an observation, its process and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970, by the clock of the machine.
    pub at_ms: u64,
    /// The process that made the observation.
    pub process: u32,
    /// The observation.
    #[serde(flatten)]
    pub fact: Fact,
}

/// An observation. The names are those of Jepsen's tests where they have one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Fact {
    /// A publish was begun.
    Attempted {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A publish returned `Ok`.
    Acknowledged {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A publish failed, and may have been stored all the same.
    Unknown {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A publish failed and was not stored.
    Rejected {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A store granted a claim.
    Granted {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant.
        fence: u64,
        /// The claimant.
        claimant: Uuid,
        /// The time at which the claim was sent, as [`Entry::at_ms`].
        asked_at_ms: u64,
        /// The length of the lease.
        lease_ms: u64,
    },
    /// A store renewed a lease.
    Renewed {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant.
        fence: u64,
        /// The time at which the renewal was sent, as [`Entry::at_ms`].
        asked_at_ms: u64,
        /// The length of the lease from then on.
        lease_ms: u64,
    },
    /// A handler began.
    Ran {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant that it runs under.
        fence: u64,
    },
    /// A handler made its effect.
    Effect {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant that it ran under.
        fence: u64,
    },
    /// A store settled a slot.
    Settled {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant that settled it.
        fence: u64,
    },
    /// A store released or forgot a slot.
    Freed {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant that freed it.
        fence: u64,
    },
    /// A process was killed.
    Crashed {
        /// The id of the process.
        victim: u32,
    },
}

impl Journal {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Appended in one write each, so that lines of several processes do not mix.
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, process: std::process::id() })
    }

    pub(crate) fn read(path: &Path) -> io::Result<Vec<Entry>> {
        let lines = fs::read_to_string(path)?;
        lines.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn record(&self, fact: Fact) -> io::Result<()> {
        let entry = Entry { at_ms: now_ms(), process: self.process, fact };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        (&self.file).write_all(&line)
    }

    /// Records that a publish of this event begins.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record), here and below.
    pub fn attempted(&self, event: &impl Event) -> io::Result<()> {
        self.record(Fact::Attempted { key: event.idempotency_key() })
    }

    /// Records the result of a publish of this event.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub fn published(
        &self,
        key: IdempotencyKey,
        result: &Result<PublishReceipt, PublishError>,
    ) -> io::Result<()> {
        self.record(match result {
            Ok(_) => Fact::Acknowledged { key },
            Err(error) if error.is_outcome_unknown() => Fact::Unknown { key },
            Err(_) => Fact::Rejected { key },
        })
    }

    /// Records that a handler begins.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub fn ran<E: Event>(&self, delivery: &Delivery<E>) -> io::Result<()> {
        self.record(Fact::Ran { key: delivery.slot().key(), fence: delivery.fence().get() })
    }

    /// Records that a handler has made its effect, and is about to return `Ok`.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub fn effect<E: Event>(&self, delivery: &Delivery<E>) -> io::Result<()> {
        self.record(Fact::Effect { key: delivery.slot().key(), fence: delivery.fence().get() })
    }

    /// Records that a process is about to be killed.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub fn crashed(&self, victim: u32) -> io::Result<()> {
        self.record(Fact::Crashed { victim })
    }

    pub(crate) fn settled(&self, key: IdempotencyKey, fence: Fence) -> io::Result<()> {
        self.record(Fact::Settled { key, fence: fence.get() })
    }

    pub(crate) fn freed(&self, key: IdempotencyKey, fence: Fence) -> io::Result<()> {
        self.record(Fact::Freed { key, fence: fence.get() })
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
