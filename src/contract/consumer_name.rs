//! The name of a durable consumer.

use crate::contract::value::{ParseError, is_token, text_schema, text_traits};
use std::{str::FromStr, sync::Arc};

/// The name of a durable consumer: `[A-Za-z0-9_-]{1,64}`, one token of a subject.
///
/// It is the durable's name on the server, a token of the dead-letter subject and one half of a dedupe
/// [`Slot`](crate::dedupe::Slot). Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(Arc<str>);

const MAX_BYTES: usize = 64;
const RULE: &str = "must be 1 to 64 of A-Z a-z 0-9 _ -";

impl ConsumerName {
    /// Returns the text, as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConsumerName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_token(text, MAX_BYTES, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new("consumer name", RULE, text))
        }
    }
}

text_traits!(ConsumerName);
text_schema!(ConsumerName, RULE, MAX_BYTES, "[A-Za-z0-9_-]+");
