//! Disconnecting from a server that takes no more writes, to reach the primary behind its address.

use crate::dedupe::{StoreError, redis::script::Answer};
use redis::{RedisError, aio::ConnectionManager};
use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The shortest interval between disconnects: a new connection may lead to the same server for a while.
const EVERY: Duration = Duration::from_millis(500);

/// A guard that disconnects from a server that rejects writes: a demoted primary, or a primary that has lost its
/// replicas.
///
/// A fail-over behind one address moves only new connections. Existing ones would stay with the old primary forever.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    last: Mutex<Option<Instant>>,
}

impl Leaving {
    /// Closes the connection if the server rejected a write, so that its manager reconnects.
    pub(super) async fn after(
        &self,
        answered: &Result<Vec<Answer>, StoreError>,
        connection: &mut ConnectionManager,
    ) {
        let is_rejected = match answered {
            Ok(answers) => answers.iter().any(|answer| match answer {
                Answer::Failed(error) => rejects_writes(error),
                _ => false,
            }),
            Err(error) => error.source().is_some_and(|source| {
                let code = source.downcast_ref::<RedisError>().and_then(RedisError::code);
                code.is_some_and(rejects_writes) || rejects_writes(&source.to_string())
            }),
        };
        if !is_rejected || !self.is_due() {
            return;
        }
        tracing::warn!("redis rejects writes; reconnecting to find the primary");
        // Every user may send `QUIT`. The manager notices at the next command, whose answer does not matter.
        let _ended = redis::cmd("QUIT").query_async::<()>(connection).await;
        let _noticed = redis::cmd("PING").query_async::<()>(connection).await;
    }

    fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= EVERY);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

/// Returns whether an error has a code that rejects writes. Version 6 prefixes the code by the script line and a `-`.
fn rejects_writes(error: &str) -> bool {
    let is_code = |word: &str| ["READONLY", "MASTERDOWN", "NOREPLICAS"].contains(&word);
    error.split([' ', ':']).any(|word| is_code(word.trim_start_matches('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_write_is_recognised_by_its_code_anywhere() {
        for rejection in [
            "READONLY You can't write against a read only replica.",
            "@user_script: 57: -READONLY You can't write against a read only replica.",
            "READONLY",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
        ] {
            assert!(rejects_writes(rejection), "{rejection}");
        }
        for other in ["", "OOM command not allowed", "LOADING Redis is loading the dataset in memory"] {
            assert!(!rejects_writes(other), "{other}");
        }
    }
}
