//! The script that carries out operations on the server, with its arguments and answers.

use crate::dedupe::{Fence, Slot, SlotState, StoreError, StoreErrorKind};
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, aio::ConnectionManager};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

const SOURCE: &str = include_str!("slots.lua");

/// An operation on one slot.
#[derive(Debug)]
pub(super) struct Op {
    key: String,
    what: What,
}

/// The kinds of operations.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Claim { claimant: Uuid, lease: Duration },
    Renew { fence: Fence, lease: Duration },
    Settle(Fence),
    Release(Fence),
    Defer(Fence),
    Forget(Fence),
    Peek,
}

/// The answer of the script to one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Acquired { fence: Fence, attempt: u32, lapsed: u32 },
    Held { retry_in: Duration },
    Settled,
    Seen(SlotState),
    Done,
    Fenced,
    Corrupt,
    Failed(Arc<str>),
}

impl Op {
    pub(super) fn new(prefix: &str, slot: &Slot, what: What) -> Self {
        Self { key: format!("{prefix}:{}:{}", slot.consumer(), slot.key()), what }
    }

    fn arguments(&self, command: &mut Cmd) {
        let (name, fence) = match self.what {
            What::Claim { claimant, lease } => {
                command
                    .arg("claim")
                    .arg(claimant.simple().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
                command.arg(lease_ms(lease));
                return;
            }
            What::Renew { fence, lease } => {
                command.arg("renew").arg(fence.get()).arg(lease_ms(lease));
                return;
            }
            What::Peek => {
                command.arg("peek").arg("").arg("");
                return;
            }
            What::Settle(fence) => ("settle", fence),
            What::Release(fence) => ("release", fence),
            What::Defer(fence) => ("defer", fence),
            What::Forget(fence) => ("forget", fence),
        };
        command.arg(name).arg(fence.get()).arg("");
    }
}

/// Returns the lease in milliseconds, rounded up, since it must not be cut short, and at most 30 years, which the
/// script can express.
fn lease_ms(lease: Duration) -> u64 {
    const LONGEST: u64 = 30 * 365 * 24 * 60 * 60 * 1000;
    u64::try_from(lease.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(LONGEST)
}

/// The script as loaded on a server.
#[derive(Debug)]
pub(super) struct Script {
    hash: String,
    counter: String,
    retention_ms: u128,
}

impl Script {
    pub(super) async fn load(
        connection: &mut ConnectionManager,
        prefix: &str,
        retention: Duration,
    ) -> Result<Self, StoreError> {
        let hash =
            redis::cmd("SCRIPT").arg("LOAD").arg(SOURCE).query_async(connection).await.map_err(failure)?;
        // No slot has this key, since the keys of slots end in 64 digits.
        Ok(Self { hash, counter: format!("{prefix}:fence"), retention_ms: retention.as_millis() })
    }

    /// Carries out a batch in one round trip, or in two if the server has lost the script.
    pub(super) async fn run(
        &self,
        connection: &mut ConnectionManager,
        ops: &[Op],
    ) -> Result<Vec<Answer>, StoreError> {
        let answered = self.call("EVALSHA", &self.hash, ops).query_async::<Vec<String>>(connection).await;
        let lines = match answered {
            // Nothing was run.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.call("EVAL", SOURCE, ops).query_async(connection).await
            }
            answered => answered,
        };
        lines.map_err(failure)?.iter().map(|line| Answer::parse(line)).collect()
    }

    fn call(&self, command: &str, script: &str, ops: &[Op]) -> Cmd {
        let mut command = redis::cmd(command);
        command.arg(script).arg(ops.len() + 1).arg(&self.counter);
        for op in ops {
            command.arg(&op.key);
        }
        command.arg(self.retention_ms.to_string());
        for op in ops {
            op.arguments(&mut command);
        }
        command
    }
}

impl Answer {
    fn parse(line: &str) -> Result<Self, StoreError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let parsed = match word {
            "acquired" => rest.split_once(' ').and_then(|(fence, counts)| {
                let (attempt, lapsed) = counts.split_once(' ').unwrap_or((counts, "0"));
                Some(Self::Acquired {
                    fence: Fence::new(fence.parse().ok()?),
                    attempt: attempt.parse().ok()?,
                    lapsed: lapsed.parse().ok()?,
                })
            }),
            "held" => rest.parse().ok().map(|us| Self::Held { retry_in: Duration::from_micros(us) }),
            "settled" => Some(Self::Settled),
            "seen" => seen(rest).map(Self::Seen),
            "done" => Some(Self::Done),
            "fenced" => Some(Self::Fenced),
            "corrupt" => Some(Self::Corrupt),
            "failed" => Some(Self::Failed(rest.into())),
            _ => None,
        };
        parsed.ok_or_else(unreadable)
    }

    /// Converts an answer that is not a success.
    pub(super) fn to_error(&self) -> StoreError {
        match self {
            Self::Fenced => StoreError::new(StoreErrorKind::Fenced),
            Self::Corrupt => StoreError::new(StoreErrorKind::Corrupt),
            Self::Failed(error) => StoreError::new(kind_of(error)).caused_by(error.as_ref()),
            Self::Acquired { .. } | Self::Held { .. } | Self::Settled | Self::Seen(_) | Self::Done => {
                unreadable()
            }
        }
    }
}

/// Reads the answer to a peek of a slot that is not settled.
fn seen(counts: &str) -> Option<SlotState> {
    let Some((attempts, left)) = counts.split_once(' ') else {
        return Some(SlotState::Free { attempts: counts.parse().ok()? });
    };
    let expires_in = Duration::from_micros(left.parse().ok()?);
    Some(SlotState::Held { attempts: attempts.parse().ok()?, expires_in })
}

fn unreadable() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt).with_message("answer of redis cannot be read")
}

/// Returns the kind of an error by its code. Version 6 prefixes the code by the script line and a `-`.
fn kind_of(error: &str) -> StoreErrorKind {
    let of_word = |word: &str| match word.trim_start_matches('-') {
        "OOM" => Some(StoreErrorKind::Full),
        "WRONGTYPE" => Some(StoreErrorKind::Corrupt),
        _ => None,
    };
    error.split(' ').find_map(of_word).unwrap_or(StoreErrorKind::Unavailable)
}

/// Converts the error of a command that failed as a whole.
pub(super) fn failure(error: RedisError) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => StoreErrorKind::Corrupt,
        _ => error.code().map_or(StoreErrorKind::Unavailable, kind_of),
    };
    StoreError::new(kind).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_grants_nothing() {
        let fence = Fence::new(7);
        for (line, lapsed) in [("acquired 7 2", 0), ("acquired 7 2 1", 1)] {
            assert_eq!(Answer::parse(line).unwrap(), Answer::Acquired { fence, attempt: 2, lapsed });
        }
        assert_eq!(
            Answer::parse("held 1500").unwrap(),
            Answer::Held { retry_in: Duration::from_micros(1500) }
        );
        for line in [
            "",
            "acquired",
            "acquired 7",
            "acquired -1 1",
            "acquired 7 2 ",
            "acquired 7 2 1 0",
            "held x",
            "seen",
            "seen x",
            "seen 1 x",
            "ok",
        ] {
            assert_eq!(Answer::parse(line).unwrap_err().kind(), StoreErrorKind::Corrupt, "{line:?}");
        }
    }

    #[test]
    fn an_error_of_the_server_has_a_kind() {
        for (error, kind) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", StoreErrorKind::Full),
            (
                "@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
                StoreErrorKind::Full,
            ),
            ("WRONGTYPE Operation against a key", StoreErrorKind::Corrupt),
            ("READONLY You can't write against a read only replica.", StoreErrorKind::Unavailable),
            ("", StoreErrorKind::Unavailable),
        ] {
            assert_eq!(Answer::Failed(error.into()).to_error().kind(), kind, "{error}");
        }
        for (kind, wanted) in [
            (ErrorKind::UnexpectedReturnType, StoreErrorKind::Corrupt),
            (ErrorKind::Parse, StoreErrorKind::Corrupt),
            (ErrorKind::Io, StoreErrorKind::Unavailable),
            (ErrorKind::Server(ServerErrorKind::BusyLoading), StoreErrorKind::Unavailable),
        ] {
            assert_eq!(failure((kind, "of a test").into()).kind(), wanted, "{kind:?}");
        }
    }

    #[test]
    fn a_lease_is_rounded_up_and_limited() {
        for (lease, wanted) in [(Duration::from_micros(1), 1), (Duration::from_millis(5), 5)] {
            assert_eq!(lease_ms(lease), wanted);
        }
        assert!(lease_ms(Duration::MAX) < 1_000_000_000_000);
    }
}
