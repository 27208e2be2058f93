//! Where slots are kept, and for how long.

use crate::contract::value::{ParseError, is_token};
use std::time::Duration;

/// Where a [`RedisStore`](super::RedisStore) keeps its slots, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisStoreOptions {
    pub(super) prefix: String,
    pub(super) retention: Duration,
    pub(super) operation_timeout: Duration,
    pub(super) must_append: bool,
}

impl Default for RedisStoreOptions {
    /// Prefix `stratt:dedupe`, 30 days, 2 s for an operation, and an append-only file is asked for.
    fn default() -> Self {
        Self {
            prefix: "stratt:dedupe".into(),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            operation_timeout: Duration::from_secs(2),
            must_append: true,
        }
    }
}

impl RedisStoreOptions {
    /// 100 years.
    const LONGEST_RETENTION: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

    /// What all keys of the store begin with. Stores with different prefixes know nothing of each other.
    ///
    /// # Errors
    ///
    /// When it is not 1 to 64 of A-Z a-z 0-9 : . _ -
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Result<Self, ParseError> {
        self.prefix = prefix.into();
        if is_token(&self.prefix, 64, |b| b.is_ascii_alphanumeric() || b":._-".contains(&b)) {
            Ok(self)
        } else {
            Err(ParseError::new("key prefix", "must be 1 to 64 of A-Z a-z 0-9 : . _ -", &self.prefix))
        }
    }

    /// How long a settled slot is remembered, from 1 ms to 100 years. One that is held or free lives as long after its
    /// last change, or as long as its lease.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention.clamp(Duration::from_millis(1), Self::LONGEST_RETENTION);
        self
    }

    /// How long one operation of the store may take, its wait for others included.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Takes a server that keeps no append-only file as well: when it restarts, it has forgotten what was settled since
    /// its last snapshot, or everything, and such events are handled again when they are delivered again.
    #[must_use]
    pub fn allow_loss_on_restart(mut self) -> Self {
        self.must_append = false;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_could_be_misread_is_refused() {
        for prefix in ["", "a b", "a\n", "{a}", "ä", "a*", &"a".repeat(65)] {
            assert!(RedisStoreOptions::default().with_prefix(prefix).is_err(), "{prefix:?}");
        }
        let longest = "a".repeat(64);
        for prefix in ["a", "stratt:dedupe", "A-1_b.c", &longest] {
            assert_eq!(RedisStoreOptions::default().with_prefix(prefix).unwrap().prefix, prefix);
        }
    }

    #[test]
    fn a_retention_is_one_that_redis_can_express() {
        let retention = |wanted| RedisStoreOptions::default().with_retention(wanted).retention;
        assert_eq!(retention(Duration::ZERO), Duration::from_millis(1));
        assert_eq!(retention(Duration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(retention(Duration::MAX), RedisStoreOptions::LONGEST_RETENTION);
    }
}
