//! The epoch of a replay.

use crate::contract::value::ParseError;
use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

/// The number of a replay. An event is handled once in each epoch, and once outside of any.
///
/// A consumer that handled an event skips it when it comes again. The epoch is a header of each event that is replayed,
/// and part of its slot in the dedupe store: so a replayed event is handled although the store knows it, and only once
/// however often the replay is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The header that has it.
    pub(crate) const HEADER: &str = "Strat-Replay-Epoch";

    /// Returns an epoch of a number that was chosen, such as that of a replay that is to be continued.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns a new epoch: the milliseconds since 1970.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Epoch {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| ParseError::new("epoch", "must be a decimal number of 64 bits", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for number in [0, 1, u64::MAX] {
            assert_eq!(Epoch::new(number).to_string().parse(), Ok(Epoch(number)));
        }
        for text in ["", "+1", "-1", " 1", "1.0", "18446744073709551616", "0x1"] {
            let error = text.parse::<Epoch>().unwrap_err().to_string();
            assert_eq!(error, format!("invalid epoch {text:?}: must be a decimal number of 64 bits"));
        }
    }
}
