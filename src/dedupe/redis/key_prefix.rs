//! The prefix of the keys of a store.

use crate::contract::value::{ParseError, is_token, text_traits};
use std::{str::FromStr, sync::Arc};

/// The prefix of all keys of a [`RedisStore`](super::RedisStore): 1 to 64 of `A-Z a-z 0-9 : . _ -`.
///
/// ```
/// use stratt_event_bridge::dedupe::KeyPrefix;
///
/// let prefix: KeyPrefix = "adapter:dedupe".parse().unwrap();
/// assert_eq!(prefix.as_str(), "adapter:dedupe");
/// assert!("{adapter}".parse::<KeyPrefix>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix(Arc<str>);

impl KeyPrefix {
    /// Returns the prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyPrefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_token(text, 64, |b| b.is_ascii_alphanumeric() || b":._-".contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new("key prefix", "must be 1 to 64 of A-Z a-z 0-9 : . _ -", text))
        }
    }
}

impl Default for KeyPrefix {
    /// Returns `stratt:dedupe`.
    fn default() -> Self {
        Self("stratt:dedupe".into())
    }
}

text_traits!(KeyPrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ambiguous_prefix_is_rejected() {
        let longest = "a".repeat(64);
        for good in ["a", "stratt:dedupe", "A-1_b.c", &longest] {
            assert_eq!(good.parse::<KeyPrefix>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\n", "{a}", "ä", "a*", &"a".repeat(65)] {
            assert!(bad.parse::<KeyPrefix>().is_err(), "{bad:?}");
        }
    }
}
