//! The domain of a unit.

use crate::contract::value::{is_token, text_value};

/// The domain of a unit, `[a-z0-9][a-z0-9-]{0,62}`: one token of a subject.
///
/// The set is open; known today are `dev`, `core`, `shared`, `neuro`, `finance`, `nutrition`, `legal`, `film`,
/// `artist`, `ops` and `docs`. A wildcard, dot, blank, control or non-ASCII character can never be part of one,
/// and so can never reach a subject or a header.
///
/// ```
/// use stratt_event_bridge::Domain;
///
/// assert_eq!("dev".parse::<Domain>().unwrap().as_str(), "dev");
/// assert!("dev.*".parse::<Domain>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

const MAX_BYTES: usize = 63;

text_value!(
    Domain,
    "domain",
    |text| {
        is_token(text, MAX_BYTES, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
    },
    "must be 1 to 63 of a-z 0-9 - and not begin with -",
    MAX_BYTES,
    "[a-z0-9][a-z0-9-]*"
);
