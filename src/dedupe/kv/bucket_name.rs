//! The name of a bucket.

use crate::contract::value::{ParseError, is_token, text_traits};
use std::{fmt::Display, str::FromStr, sync::Arc};

/// The name of a JetStream key-value bucket: 1 to 255 of `A-Z a-z 0-9 _ -`.
///
/// ```
/// use stratt_event_bridge::dedupe::BucketName;
///
/// let bucket: BucketName = "DEDUPE".parse().unwrap();
/// assert_eq!(bucket.as_str(), "DEDUPE");
/// assert!("my.bucket".parse::<BucketName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the stream that the bucket is.
    pub(crate) fn stream(&self) -> String {
        format!("KV_{self}")
    }

    /// Returns the subject of a key, or of the keys that a pattern matches.
    pub(crate) fn subject(&self, key: impl Display) -> String {
        format!("$KV.{self}.{key}")
    }
}

impl FromStr for BucketName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_token(text, 255, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new("bucket name", "must be 1 to 255 of A-Z a-z 0-9 _ -", text))
        }
    }
}

impl Default for BucketName {
    /// Returns `STRATT_DEDUPE`.
    fn default() -> Self {
        Self("STRATT_DEDUPE".into())
    }
}

text_traits!(BucketName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_one_token_of_a_subject_are_accepted() {
        let longest = "a".repeat(255);
        for good in ["a", "STRATT_DEDUPE", "A-1_b", &longest] {
            assert_eq!(good.parse::<BucketName>().unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "a b", "*", ">", "a\n", "ä", &"a".repeat(256)] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad:?}");
        }
    }
}
