//! The failure of one attempt.

use crate::{
    nats::{account_limit, permission_violation::PermissionViolation},
    publish::{PublishError, PublishErrorKind, PublishReceipt},
};
use async_nats::{
    client,
    jetstream::{self, context},
};
use std::error::Error;

/// The code of "duplicate message id is in process", which a stream with replicas answers.
const IN_PROCESS: u64 = 10_158;

/// A failed attempt: its error, and whether another attempt can help.
pub(crate) struct Failure {
    pub(crate) error: PublishError,
    pub(crate) try_again: bool,
}

impl Failure {
    pub(crate) fn unanswered() -> Self {
        Self {
            error: PublishError::new(PublishErrorKind::TimedOut).with_outcome_unknown(true),
            try_again: true,
        }
    }

    /// Returns the same failure, for a message that an earlier attempt may have stored.
    pub(crate) fn of_unknown_outcome(self) -> Self {
        Self { error: self.error.with_outcome_unknown(true), ..self }
    }

    /// Returns the failure of a message that the replicas are about to store, from an earlier attempt or another
    /// publisher of the same fact. They may still fail to: only a repeat shows it.
    fn in_process(error: jetstream::Error) -> Self {
        let error = PublishError::caused(PublishErrorKind::Unavailable, error);
        Self { error: error.with_outcome_unknown(true), try_again: true }
    }

    /// Returns the failure of an answer without a sequence, which 2.10 sends where newer servers answer "in process".
    pub(crate) fn without_sequence() -> Self {
        let error = PublishError::new(PublishErrorKind::Unavailable).with_outcome_unknown(true);
        Self { error, try_again: true }
    }

    pub(crate) fn denied(violation: &PermissionViolation, outcome_unknown: bool) -> Self {
        let cause = format!("this user may not {violation}");
        let error = PublishError::caused(PublishErrorKind::PermissionDenied, cause);
        Self { error: error.with_outcome_unknown(outcome_unknown), try_again: false }
    }

    /// Returns the failure of a message that is stored in a domain other than the one `wanted`. That one may have it as
    /// well.
    pub(crate) fn in_domain(receipt: &PublishReceipt, wanted: &str) -> Self {
        let (stream, sequence) = (receipt.stream(), receipt.sequence());
        let found = receipt.domain().map_or("no domain".to_owned(), |domain| format!("domain {domain}"));
        let cause = format!(
            "{stream} of {found} has it as {sequence}, but the bridge is for domain {wanted}: delete the stream there, or \
             set that domain"
        );
        let error = PublishError::caused(PublishErrorKind::WrongDomain, cause);
        Self { error: error.with_outcome_unknown(true), try_again: false }
    }

    pub(crate) fn without_stream() -> Self {
        Self { error: PublishError::new(PublishErrorKind::StreamNotFound), try_again: true }
    }

    pub(crate) fn too_large() -> Self {
        Self { error: PublishError::new(PublishErrorKind::TooLarge), try_again: false }
    }

    /// Returns the failure of a client whose command channel is gone.
    pub(crate) fn disconnected(cause: impl Error + Send + Sync + 'static) -> Self {
        Self { error: PublishError::caused(PublishErrorKind::Disconnected, cause), try_again: false }
    }
}

impl From<jetstream::Error> for Failure {
    fn from(answer: jetstream::Error) -> Self {
        if answer.error_code().0 == IN_PROCESS {
            return Self::in_process(answer);
        }
        let kind = meaning(&answer);
        Self { error: PublishError::caused(kind, answer), try_again: kind == PublishErrorKind::Unavailable }
    }
}

impl From<client::PublishError> for Failure {
    fn from(error: client::PublishError) -> Self {
        match error.kind() {
            client::PublishErrorKind::MaxPayloadExceeded => Self::too_large(),
            _ => Self::disconnected(error),
        }
    }
}

impl From<context::PublishError> for Failure {
    fn from(error: context::PublishError) -> Self {
        use context::PublishErrorKind as Theirs;
        match error.kind() {
            Theirs::TimedOut | Theirs::BrokenPipe => Self::unanswered(),
            Theirs::StreamNotFound => Self::without_stream(),
            Theirs::MaxPayloadExceeded => Self::too_large(),
            _ => match error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) {
                Some(answer) => answer.clone().into(),
                None => Self::disconnected(error),
            },
        }
    }
}

/// Returns the meaning of a server's error: <https://github.com/nats-io/nats-server/blob/main/server/errors.json>.
fn meaning(answer: &jetstream::Error) -> PublishErrorKind {
    const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10_054;
    const STORE_FAILED: u64 = 10_077;
    // A full stream answers like a broken one; only the text tells them apart.
    let is_full = answer.to_string().contains("maximum");
    match (answer.error_code().0, answer.code()) {
        (MESSAGE_EXCEEDS_MAXIMUM, _) => PublishErrorKind::TooLarge,
        (STORE_FAILED, _) if is_full => PublishErrorKind::StreamFull,
        _ if account_limit::is_reached(answer) => PublishErrorKind::LimitReached,
        (_, 503) => PublishErrorKind::Unavailable,
        _ => PublishErrorKind::Refused,
    }
}
