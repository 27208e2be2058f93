//! The identity of a fact.

use crate::contract::{
    event::{GateName, RunId},
    uri::{ResourceUri, UnitUri},
    value::ParseError,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The identity URI of a fact: the URI of the unit, and a fragment where the URI alone would not do.
///
/// Its `Display` is the text that is hashed into the [`IdempotencyKey`](crate::IdempotencyKey). The fragment
/// starts with `#`, which no [`UnitUri`] holds, so two identities print alike only if they are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    uri: &'a UnitUri,
    fragment: Fragment<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fragment<'a> {
    None,
    Occurrence(Occurrence),
    Import(&'a ResourceUri),
    Gate(&'a GateName, &'a RunId),
}

impl<'a> Identity<'a> {
    /// Returns the identity of a transition of a unit; `occurrence` is `None` the first time.
    #[must_use]
    pub fn unit(uri: &'a UnitUri, occurrence: Option<Occurrence>) -> Self {
        Self { uri, fragment: occurrence.map_or(Fragment::None, Fragment::Occurrence) }
    }

    /// Returns the identity of the resolution of one import of a unit.
    #[must_use]
    pub fn import(importer: &'a UnitUri, imported: &'a ResourceUri) -> Self {
        Self { uri: importer, fragment: Fragment::Import(imported) }
    }

    /// Returns the identity of one run of one gate of a chain.
    #[must_use]
    pub fn gate(chain: &'a UnitUri, gate: &'a GateName, run: &'a RunId) -> Self {
        Self { uri: chain, fragment: Fragment::Gate(gate, run) }
    }
}

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.as_str())?;
        match self.fragment {
            Fragment::None => Ok(()),
            Fragment::Occurrence(occurrence) => write!(f, "#occurrence={}", occurrence.get()),
            Fragment::Import(imported) => write!(f, "#import={imported}"),
            Fragment::Gate(gate, run) => write!(f, "#gate={gate}&run={run}"),
        }
    }
}

/// A count of how often the same transition of the same unit and fingerprint has really happened: 2 or more.
///
/// The first time has no occurrence. A unit that is published, deprecated and published again is published with
/// occurrence 2; without it, the second announcement would be taken for a repeat of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Occurrence(u64);

impl Occurrence {
    /// The least there is: the first time is not counted.
    pub(crate) const LEAST: u64 = 2;

    /// Returns the number, 2 or more.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Occurrence {
    type Error = ParseError;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if number >= Self::LEAST {
            Ok(Self(number))
        } else {
            Err(ParseError::new(
                "occurrence",
                "must be 2 or more; leave it out the first time",
                &number.to_string(),
            ))
        }
    }
}

impl From<Occurrence> for u64 {
    fn from(occurrence: Occurrence) -> Self {
        occurrence.0
    }
}
