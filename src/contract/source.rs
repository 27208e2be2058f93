//! The author of an envelope.

use crate::contract::value::{ParseError, is_token, text_schema, text_traits};
use std::str::FromStr;

/// The author of an envelope: `service:component:version`, such as `orchestrator-http:publisher:1.4.0`.
///
/// Service and component are `[A-Za-z0-9._-]{1,64}`; the version may hold `+` as well.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Box<str>);

const PART_MAX_BYTES: usize = 64;

impl Source {
    /// Returns the text, as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Source {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |rule| ParseError::new("source", rule, text);
        let mut parts = text.split(':');
        let (Some(service), Some(component), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refused("must be service:component:version"));
        };
        for (name, part) in [("service", service), ("component", component)] {
            if !is_token(part, PART_MAX_BYTES, is_name_byte) {
                return Err(refused("must be 1 to 64 of A-Z a-z 0-9 . _ -").of_part(name, part));
            }
        }
        if !is_token(version, PART_MAX_BYTES, |b| is_name_byte(b) || b == b'+') {
            return Err(refused("must be 1 to 64 of A-Z a-z 0-9 . _ - +").of_part("version", version));
        }
        Ok(Self(text.into()))
    }
}

text_traits!(Source);
text_schema!(
    Source,
    "must be service:component:version, each 1 to 64 of A-Z a-z 0-9 . _ - (and + in the version)",
    3 * PART_MAX_BYTES + 2,
    "[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._+-]{1,64}"
);

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}
