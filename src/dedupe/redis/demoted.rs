//! A server that takes no writes any more, while another one does behind its address.

use crate::dedupe::{StoreError, redis::script::Answer};
use redis::{RedisError, aio::ConnectionManager};
use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How often a connection is ended: the new one may lead to the same server for a while.
const EVERY: Duration = Duration::from_millis(500);

/// Leaves a server that takes no writes: a replica that was the primary before, or a primary that has lost its replicas.
///
/// A failover behind one address moves only new connections. Those to the old primary stay, and would be refused for ever.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    last: Mutex<Option<Instant>>,
}

impl Leaving {
    /// Ends the connection if the server refused to write, so that its manager makes a new one.
    pub(super) async fn after(
        &self,
        answered: &Result<Vec<Answer>, StoreError>,
        connection: &mut ConnectionManager,
    ) {
        let is_refused = match answered {
            Ok(answers) => answers.iter().any(|answer| match answer {
                Answer::Failed(error) => refuses_writes(error),
                _ => false,
            }),
            Err(error) => error.source().is_some_and(|source| {
                let code = source.downcast_ref::<RedisError>().and_then(RedisError::code);
                code.is_some_and(refuses_writes) || refuses_writes(&source.to_string())
            }),
        };
        if !is_refused || !self.is_due() {
            return;
        }
        tracing::warn!("redis takes no writes: its connection is ended, to find the primary by a new one");
        // Every user may do so. The manager notices at the next command, whatever its answer is.
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

/// By the code in the error, before which a server of version 6 puts the line of the script and a `-`.
fn refuses_writes(error: &str) -> bool {
    let is_refusal = |word: &str| ["READONLY", "MASTERDOWN", "NOREPLICAS"].contains(&word);
    error.split([' ', ':']).any(|word| is_refusal(word.trim_start_matches('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_to_write_is_found_wherever_its_code_stands() {
        for refusal in [
            "READONLY You can't write against a read only replica.",
            "@user_script: 57: -READONLY You can't write against a read only replica.",
            "READONLY",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
        ] {
            assert!(refuses_writes(refusal), "{refusal}");
        }
        for other in ["", "OOM command not allowed", "LOADING Redis is loading the dataset in memory"] {
            assert!(!refuses_writes(other), "{other}");
        }
    }
}
