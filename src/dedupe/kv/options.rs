//! The options of a store in a bucket.

use crate::{
    dedupe::{BucketName, StoreError, StoreErrorKind},
    nats::{
        api::{ApiPrefix, JetStreamDomain},
        config_diff::ConfigDifference,
    },
    topology::Storage,
};
use async_nats::jetstream::stream::{self, StorageType};
use std::time::Duration;

/// Options of a [`KvStore`](super::KvStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvStoreOptions {
    pub(super) bucket: BucketName,
    pub(super) retention: Duration,
    pub(super) replicas: usize,
    pub(super) storage: Storage,
    pub(super) max_bytes: Option<i64>,
    pub(super) skew_margin: Duration,
    pub(super) operation_timeout: Duration,
    pub(super) api_prefix: ApiPrefix,
}

impl Default for KvStoreOptions {
    /// Returns options for the bucket `STRATT_DEDUPE` with a retention of 30 days and one replica, in a file and
    /// without a size limit; with a skew margin of 2 s and an operation timeout of 2 s.
    fn default() -> Self {
        Self {
            bucket: BucketName::default(),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            replicas: 1,
            storage: Storage::File,
            max_bytes: None,
            skew_margin: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(2),
            api_prefix: ApiPrefix::default(),
        }
    }
}

impl KvStoreOptions {
    /// Sets the name of the bucket.
    #[must_use]
    pub fn with_bucket(mut self, bucket: BucketName) -> Self {
        self.bucket = bucket;
        self
    }

    /// Sets how long a settled slot is remembered: the bucket's maximum age. Zero means without a time limit.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how many servers keep a copy.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets where the servers keep the bucket.
    #[must_use]
    pub fn with_storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Sets the size limit of the bucket in bytes. When it is full, claims fail and consumers wait: nothing is evicted.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: i64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the tolerated clock difference between the servers of a cluster. Each lease lasts that much longer, so that
    /// leases do not overlap. If the clock of this process differs from the server's by more, that is logged and has no
    /// other effect.
    #[must_use]
    pub fn with_skew_margin(mut self, margin: Duration) -> Self {
        self.skew_margin = margin;
        self
    }

    /// Sets the time limit of one operation, including its repeated requests.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets the JetStream domain of the bucket, as
    /// [`BridgeOptions::with_jetstream_domain`](crate::BridgeOptions::with_jetstream_domain) does. Stores that a bridge
    /// [creates](crate::EventBridge::create_kv_store) or [opens](crate::EventBridge::open_kv_store) are in its domain,
    /// whatever is set here.
    #[must_use]
    pub fn with_jetstream_domain(self, domain: JetStreamDomain) -> Self {
        self.with_api_prefix(domain.into())
    }

    /// Sets the prefix of requests to JetStream, as
    /// [`BridgeOptions::with_api_prefix`](crate::BridgeOptions::with_api_prefix) does.
    #[must_use]
    pub fn with_api_prefix(mut self, prefix: ApiPrefix) -> Self {
        self.api_prefix = prefix;
        self
    }

    pub(super) fn storage(&self) -> StorageType {
        match self.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        }
    }

    /// Checks that the existing bucket has the requested settings.
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
