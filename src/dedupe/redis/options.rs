//! The options of a store in Redis.

use crate::dedupe::{KeyPrefix, StoreError, StoreErrorKind};
use std::time::Duration;

/// Options of a [`RedisStore`](super::RedisStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisStoreOptions {
    pub(super) prefix: KeyPrefix,
    pub(super) retention: Duration,
    pub(super) operation_timeout: Duration,
    pub(super) allows_loss: bool,
}

impl Default for RedisStoreOptions {
    /// Returns options with the prefix `stratt:dedupe`, a retention of 30 days and an operation timeout of 2 s, which
    /// require an append-only file.
    fn default() -> Self {
        Self {
            prefix: KeyPrefix::default(),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            operation_timeout: Duration::from_secs(2),
            allows_loss: false,
        }
    }
}

impl RedisStoreOptions {
    /// The shortest time that Redis can express.
    const SHORTEST_RETENTION: Duration = Duration::from_millis(1);
    /// 100 years.
    const LONGEST_RETENTION: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

    /// Sets the prefix of all keys of the store. Stores with different prefixes are independent.
    #[must_use]
    pub fn with_prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets how long a settled slot is remembered, from 1 ms to 100 years. A held or free slot is kept as long after
    /// its last change, or as long as its lease.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the time limit of one operation, including its wait for others.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets whether a server without an append-only file is accepted. When such a server restarts, it has forgotten
    /// what was settled since its last snapshot, or everything, and those events are handled again if they are
    /// redelivered.
    #[must_use]
    pub fn with_loss_on_restart(mut self, allows_loss: bool) -> Self {
        self.allows_loss = allows_loss;
        self
    }

    /// Checks that Redis can express the retention.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if (Self::SHORTEST_RETENTION..=Self::LONGEST_RETENTION).contains(&self.retention) {
            return Ok(());
        }
        let message = format!("retention is {:?}: set it to 1 ms to 100 years", self.retention);
        Err(StoreError::new(StoreErrorKind::Invalid).with_message(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_that_redis_cannot_express_is_rejected() {
        let check = |retention| RedisStoreOptions::default().with_retention(retention).check();
        let most = RedisStoreOptions::LONGEST_RETENTION;
        for good in [Duration::from_millis(1), Duration::from_secs(5), most] {
            check(good).unwrap();
        }
        for bad in [Duration::ZERO, Duration::from_micros(999), most + Duration::from_nanos(1), Duration::MAX]
        {
            assert_eq!(check(bad).unwrap_err().kind(), StoreErrorKind::Invalid, "{bad:?}");
        }
    }
}
