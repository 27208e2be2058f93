//! The bucket, and how it is used.

use crate::{
    dedupe::{StoreError, StoreErrorKind},
    nats::config_diff::ConfigDifference,
};
use async_nats::jetstream::stream::{self, StorageType};
use std::time::Duration;

/// The bucket of a [`KvStore`](super::KvStore), and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvStoreOptions {
    pub(super) bucket: String,
    pub(super) retention: Duration,
    pub(super) replicas: usize,
    pub(super) in_memory: bool,
    pub(super) max_bytes: Option<i64>,
    pub(super) skew_margin: Duration,
    pub(super) operation_timeout: Duration,
}

impl Default for KvStoreOptions {
    /// `STRATT_DEDUPE`: 30 days, one replica, in a file, without a limit of size; 2 s of skew, 2 s for an operation.
    fn default() -> Self {
        Self {
            bucket: "STRATT_DEDUPE".into(),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            replicas: 1,
            in_memory: false,
            max_bytes: None,
            skew_margin: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(2),
        }
    }
}

impl KvStoreOptions {
    /// The name of the bucket.
    #[must_use]
    pub fn with_bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = bucket.into();
        self
    }

    /// How long a settled slot is remembered: the bucket's maximum age.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How many servers keep a copy.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Keeps the bucket in the servers' memory instead of a file.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// The most bytes the bucket may have. When it is full, claims fail and consumers wait: nothing is evicted.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// By how much the clocks of the servers of a cluster may differ before leases overlap. Each lease is kept for as much
    /// longer. Where the clock of this process differs by more from the server's, that is logged, and changes nothing.
    #[must_use]
    pub fn with_skew_margin(mut self, margin: Duration) -> Self {
        self.skew_margin = margin;
        self
    }

    /// How long one operation of the store may take, its repeated requests included.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    pub(super) fn storage(&self) -> StorageType {
        if self.in_memory { StorageType::Memory } else { StorageType::File }
    }

    /// Whether the bucket that was found is the one that was asked for.
    pub(super) fn check(&self, found: &stream::Config) -> Result<(), StoreError> {
        let max_bytes = self.max_bytes.unwrap_or(-1);
        let differences = [
            ConfigDifference::between("retention", &found.max_age, &self.retention),
            ConfigDifference::between("replicas", &found.num_replicas, &self.replicas),
            ConfigDifference::between("storage", &found.storage, &self.storage()),
            ConfigDifference::between("max bytes", &found.max_bytes, &max_bytes),
        ];
        match differences.into_iter().flatten().next() {
            None => Ok(()),
            Some(difference) => {
                let message = format!("bucket {} has {difference}", self.bucket);
                Err(StoreError::new(StoreErrorKind::Mismatch).with_message(message))
            }
        }
    }
}
