//! The inbox of one user.

use crate::contract::value::{ParseError, is_token};

/// The inbox where one user receives answers: `_INBOX_{user}.>`, which no other user may subscribe to.
///
/// With `_INBOX.>`, the default of clients, every user who may receive answers can read those of all others: the
/// payloads that consumers pull, and what is read of dead letters and of the dedupe store.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use stratt_event_bridge::{async_nats::ConnectOptions, acl::Inbox};
///
/// let inbox = Inbox::of_user("orchestrator")?;
/// let client = ConnectOptions::with_user_and_password("orchestrator".into(), "secret".into())
///     .custom_inbox_prefix(inbox.prefix())
///     .connect("tls://broker:4222")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Inbox(String);

impl Inbox {
    /// Returns the inbox of a user, or of any other name of one service, since a user may also be an nkey.
    ///
    /// # Errors
    ///
    /// When the name is not 1 to 64 of `A-Z a-z 0-9 _ -`, and so could not be part of one token of a subject.
    pub fn of_user(name: &str) -> Result<Self, ParseError> {
        if is_token(name, 64, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            Ok(Self(format!("_INBOX_{name}")))
        } else {
            Err(ParseError::new("user of an inbox", "must be 1 to 64 of A-Z a-z 0-9 _ -", name))
        }
    }

    /// Returns the prefix for [`ConnectOptions::custom_inbox_prefix`](async_nats::ConnectOptions::custom_inbox_prefix).
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0
    }
}
