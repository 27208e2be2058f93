//! The journal: a line for each observation, written by many processes.

use crate::{Entry, Fact};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use stratt_event_bridge::{
    Delivery, Event, IdempotencyKey, PublishError, PublishReceipt, dead_letter::DeadLetterReason,
};

/// A file of JSON lines that many processes of one machine append to.
#[derive(Debug)]
pub struct Journal {
    file: File,
    process: u32,
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

    /// Records that no attempt can handle this event, which is to be dead-lettered for this reason.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record), here and below.
    pub fn condemned(&self, event: &impl Event, reason: DeadLetterReason) -> io::Result<()> {
        self.record(Fact::Condemned { key: event.idempotency_key(), reason })
    }

    /// Records that a publish of this event begins.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
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
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
