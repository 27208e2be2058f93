//! The fingerprint of a unit's content.

use crate::value::{is_token, text_value};

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

text_value!(
    Fingerprint,
    "fingerprint",
    is_fingerprint,
    "must be {algorithm}:{lowercase hex}, with 64 digits for blake3 and sha256",
    ALGORITHM_MAX_BYTES + 1 + DIGEST_MAX_BYTES,
    "[a-z][a-z0-9-]{0,31}:[0-9a-f]{1,256}",
    "if": { "pattern": "^(?:blake3|sha256):" },
    "then": { "pattern": "^[a-z0-9]+:[0-9a-f]{64}$" }
);

impl Fingerprint {
    /// The part before the colon, such as `blake3`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The part after the colon.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, digest)| digest)
    }
}

fn is_fingerprint(text: &str) -> bool {
    let Some((algorithm, digest)) = text.split_once(':') else { return false };
    let algorithm_is_valid = is_token(algorithm, ALGORITHM_MAX_BYTES, |b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
    }) && algorithm.starts_with(|c: char| c.is_ascii_lowercase());
    let digest_is_valid = is_token(digest, DIGEST_MAX_BYTES, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let digits_wanted = if matches!(algorithm, "blake3" | "sha256") { 64 } else { digest.len() };
    algorithm_is_valid && digest_is_valid && digest.len() == digits_wanted
}
