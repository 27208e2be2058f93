//! The fingerprint of a unit's content.

use crate::contract::value::{ParseError, is_token, text_schema, text_traits};
use std::str::FromStr;

/// The fingerprint of a unit's content: `{algorithm}:{lowercase hex}`.
///
/// `blake3` and `sha256` have exactly 64 digits. Other algorithms (`[a-z][a-z0-9-]{0,31}`) are let through with 1
/// to 256 digits, so that a newer publisher can be read.
///
/// ```
/// use stratt_event_bridge::Fingerprint;
///
/// let fingerprint: Fingerprint = format!("blake3:{}", "0f".repeat(32)).parse().unwrap();
/// assert_eq!(fingerprint.algorithm(), "blake3");
/// assert!("blake3:0F".parse::<Fingerprint>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Box<str>);

const ALGORITHM_MAX_BYTES: usize = 32;
const DIGEST_MAX_BYTES: usize = 256;

text_traits!(Fingerprint);
text_schema!(
    Fingerprint,
    "must be {algorithm}:{lowercase hex}, with 64 digits for blake3 and sha256",
    ALGORITHM_MAX_BYTES + 1 + DIGEST_MAX_BYTES,
    "[a-z][a-z0-9-]{0,31}:[0-9a-f]{1,256}",
    "if": { "pattern": "^(?:blake3|sha256):" },
    "then": { "pattern": "^[a-z0-9]+:[0-9a-f]{64}$" }
);

impl Fingerprint {
    /// Returns the text, as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the colon, such as `blake3`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// Returns the part after the colon.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, digest)| digest)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |rule| ParseError::new("fingerprint", rule, text);
        let Some((algorithm, digest)) = text.split_once(':') else {
            return Err(refused("has no algorithm: must be {algorithm}:{lowercase hex}"));
        };
        let is_digest = is_token(digest, DIGEST_MAX_BYTES, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_of_other_length = matches!(algorithm, "blake3" | "sha256") && digest.len() != 64;
        for (name, part, is_valid, rule) in [
            (
                "algorithm",
                algorithm,
                is_algorithm(algorithm),
                "must be 1 to 32 of a-z 0-9 - and begin with a letter",
            ),
            ("digest", digest, is_digest, "must be 1 to 256 lowercase hex digits"),
            ("digest", digest, !is_of_other_length, "must have 64 digits for blake3 and sha256"),
        ] {
            if !is_valid {
                return Err(refused(rule).of_part(name, part));
            }
        }
        Ok(Self(text.into()))
    }
}

fn is_algorithm(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && is_token(text, ALGORITHM_MAX_BYTES, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
