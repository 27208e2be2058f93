//! The idempotency key: one SHA-256 per fact.

use crate::contract::{
    epoch::Epoch,
    event::{EventType, Identity},
    fingerprint::Fingerprint,
    value::{ParseError, Text, text_schema},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::{
    fmt::{self, Write},
    str::FromStr,
};

/// The identity of a fact: the same event type, identity URI and fingerprint always give the same key.
///
/// It is the SHA-256 of `eventType LF identityUri LF fingerprint`, written as 64 lowercase hex digits. None of
/// the three can hold a line feed, so no two different triples hash the same bytes. Anyone can check a key:
///
/// ```sh
/// printf 'unit.deprecated\nstrat://dev/rule/no-secrets@1.0.0\nblake3:...' | sha256sum
/// ```
///
/// ```
/// use stratt_event_bridge::{Event, UnitPublished};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let uri: stratt_event_bridge::UnitUri = "strat://dev/rule/no-secrets@1.0.0".parse()?;
/// let fingerprint = format!("blake3:{}", "0".repeat(64)).parse()?;
/// let event = UnitPublished::new(uri, fingerprint);
/// assert_eq!(event.idempotency_key(), event.clone().with_actor("user:alice").idempotency_key());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey([u8; 32]);

const DIGITS: usize = 64;
const RULE: &str = "must be 64 lowercase hex digits";

text_schema!(IdempotencyKey, RULE, DIGITS, "[0-9a-f]{64}");

impl IdempotencyKey {
    /// Hashes the three inputs. [`Event::idempotency_key`](crate::Event::idempotency_key) is the short way.
    #[must_use]
    pub fn compute(event_type: EventType, identity: Identity<'_>, fingerprint: &Fingerprint) -> Self {
        let mut hashed = Hashed(Sha256::new());
        hashed.0.update(event_type.as_str());
        hashed.0.update(b"\n");
        // Writing into a hasher cannot fail, and `Identity` has no error of its own.
        let _infallible = write!(hashed, "{identity}");
        hashed.0.update(b"\n");
        hashed.0.update(fingerprint.as_str());
        Self(hashed.0.finalize().into())
    }

    /// Returns the key by which the event is known in an epoch: the SHA-256 of `key LF epoch`. An event type has a dot
    /// and the digits of a key have none, so that it is the key of no event.
    pub(crate) fn in_epoch(self, epoch: Epoch) -> Self {
        Self(Sha256::digest(format!("{self}\n{epoch}")).into())
    }

    /// Returns the 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Calls `f` with the 64 hex digits, without allocating.
    pub(crate) fn with_hex<T>(&self, f: impl FnOnce(&str) -> T) -> T {
        let mut digits = [0; DIGITS];
        // 32 bytes fill 64 digits exactly and hex is ASCII: neither step can fail.
        let _fits = hex::encode_to_slice(self.0, &mut digits);
        f(str::from_utf8(&digits).unwrap_or_default())
    }
}

struct Hashed(Sha256);

impl Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

impl FromStr for IdempotencyKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let lowercase = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if lowercase && hex::decode_to_slice(text, &mut bytes).is_ok() {
            Ok(Self(bytes))
        } else {
            Err(ParseError::new("idempotency key", RULE, text))
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_hex(|digits| f.pad(digits))
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({self})")
    }
}

impl Serialize for IdempotencyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_hex(|digits| serializer.serialize_str(digits))
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer)?.0.parse().map_err(serde::de::Error::custom)
    }
}
