//! The server's report that the user of a connection lacks a permission.

use std::fmt;

/// The longest subject that is remembered: far longer than those a service uses.
pub(super) const LONGEST_SUBJECT: usize = 1024;

/// A subject that the user of a connection may not publish or subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PermissionViolation {
    Publish(String),
    Subscribe(String),
}

impl PermissionViolation {
    /// Reads `Permissions Violation for Publish to "subject"`, or `for Subscription to "subject"` with more after it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let what = text.strip_prefix("Permissions Violation for ")?;
        let (verb, rest) = what.split_once(" to \"")?;
        let (subject, _) = rest.split_once('"')?;
        if subject.len() > LONGEST_SUBJECT {
            return None;
        }
        match verb {
            "Publish" => Some(Self::Publish(subject.to_owned())),
            "Subscription" => Some(Self::Subscribe(subject.to_owned())),
            _ => None,
        }
    }

    /// Returns the subject that may not be published to; `None` if a subscription was refused.
    pub(crate) fn published(&self) -> Option<&str> {
        match self {
            Self::Publish(subject) => Some(subject),
            Self::Subscribe(_) => None,
        }
    }

    /// Returns whether it is about publishing to `subject`.
    pub(crate) fn is_of_publish(&self, subject: &str) -> bool {
        self.published() == Some(subject)
    }

    /// Returns whether it is about a subscription to `inbox`, or to another inbox of the same connection.
    pub(super) fn is_of_inbox(&self, inbox: &str) -> bool {
        matches!(self, Self::Subscribe(subject) if has_same_prefix(subject, inbox))
    }

    pub(super) fn is_of_subscription(&self) -> bool {
        matches!(self, Self::Subscribe(_))
    }
}

/// Returns whether two inboxes differ only in the part that makes each of them unique.
fn has_same_prefix(subject: &str, inbox: &str) -> bool {
    let Some((prefix, _)) = inbox.rsplit_once('.') else { return false };
    subject.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

impl fmt::Display for PermissionViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "publish to {subject}"),
            Self::Subscribe(subject) => write!(f, "subscribe to {subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_text_is_no_violation() {
        for text in
            ["", "Permissions Violation for Publish to \"a", "Permissions Violation", "stale connection"]
        {
            assert_eq!(PermissionViolation::parse(text), None, "{text}");
        }
        let queue = "Permissions Violation for Subscription to \"_INBOX.a.*\" using queue \"q\"";
        let inbox = PermissionViolation::Subscribe("_INBOX.a.*".into());
        assert_eq!(PermissionViolation::parse(queue), Some(inbox));
    }
}
