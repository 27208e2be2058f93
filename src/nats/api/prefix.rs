//! The prefix of requests to JetStream.

use crate::{
    contract::value::{ParseError, is_token, text_traits},
    nats::api::{ApiSubject, JetStreamDomain},
};
use std::str::FromStr;

/// The prefix of requests to JetStream: `$JS.API` unless JetStream is in another domain (`$JS.{domain}.API`), or is
/// imported from another account.
///
/// 1 to 127 of `A-Z a-z 0-9 $ @ _ -`, in tokens with dots between them.
///
/// ```
/// use stratt_event_bridge::ApiPrefix;
///
/// assert_eq!(ApiPrefix::default().as_str(), "$JS.API");
/// assert_eq!("$JS.hub.API".parse::<ApiPrefix>()?.domain(), Some("hub"));
/// assert_eq!("STRATT.JS.API".parse::<ApiPrefix>()?.domain(), None);
/// assert!("STRATT.>".parse::<ApiPrefix>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiPrefix {
    // In place, so that options are `Copy`.
    text: [u8; LONGEST],
    length: usize,
}

/// The prefix of requests to the JetStream of the connection itself.
pub(super) const LOCAL: &str = "$JS.API";
const LONGEST: usize = 127;

impl ApiPrefix {
    /// Returns the prefix of this text, which is cut if it is too long.
    fn new(text: &str) -> Self {
        let mut prefix = Self { text: [0; LONGEST], length: text.len().min(LONGEST) };
        prefix.text.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        prefix
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It is ASCII.
        self.text.get(..self.length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Returns the JetStream domain that the prefix names; `None` if it names none.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        let domain = self.as_str().strip_prefix("$JS.")?.strip_suffix(".API")?;
        (!domain.contains('.')).then_some(domain)
    }

    /// Returns whether it is the prefix of the JetStream of the connection itself.
    pub(crate) fn is_local(&self) -> bool {
        self.as_str() == LOCAL
    }

    /// Returns the subject of a request.
    pub(crate) fn subject(&self, request: &ApiSubject) -> String {
        format!("{self}.{request}")
    }

    /// Returns the subject for writing a key that is stored under `subject`: JetStream elsewhere does not take the key
    /// itself.
    pub(crate) fn subject_of_key(&self, subject: String) -> String {
        if self.is_local() { subject } else { format!("{self}.{subject}") }
    }

    /// Returns the subject behind this prefix of a request to the JetStream of the connection itself, or of the write
    /// of a key there. Others are the same with any prefix.
    pub(crate) fn moved(&self, subject: String) -> String {
        match subject.strip_prefix(LOCAL).and_then(|rest| rest.strip_prefix('.')) {
            Some(request) => format!("{self}.{request}"),
            None if subject.starts_with("$KV.") => self.subject_of_key(subject),
            None => subject,
        }
    }
}

impl FromStr for ApiPrefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b"$@_-".contains(&b);
        if text.len() <= LONGEST && text.split('.').all(|token| is_token(token, LONGEST, is_part)) {
            Ok(Self::new(text))
        } else {
            let rule = "must be 1 to 127 of A-Z a-z 0-9 $ @ _ - in tokens with dots between them";
            Err(ParseError::new("API prefix", rule, text))
        }
    }
}

impl From<JetStreamDomain> for ApiPrefix {
    /// Returns the prefix of requests to JetStream in this domain.
    fn from(domain: JetStreamDomain) -> Self {
        Self::new(&format!("$JS.{domain}.API"))
    }
}

impl Default for ApiPrefix {
    /// Returns `$JS.API`.
    fn default() -> Self {
        Self::new(LOCAL)
    }
}

text_traits!(ApiPrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_begin_a_subject_is_accepted() {
        let longest = "a".repeat(127);
        for good in ["$JS.API", "$JS.hub.API", "JS.acc@hub.API", "a", &longest] {
            assert_eq!(good.parse::<ApiPrefix>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "a\n", "a\"", "ä", &"a".repeat(128)] {
            assert!(bad.parse::<ApiPrefix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_what_is_one_token_is_a_domain() {
        let longest = "a".repeat(64);
        for good in ["hub", "A-1_b", &longest] {
            let domain: JetStreamDomain = good.parse().unwrap();
            assert_eq!(ApiPrefix::from(domain).domain(), Some(good));
        }
        for bad in ["", "a.b", "*", ">", "a b", "a\n", "$a", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<JetStreamDomain>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_names_a_domain_only_in_its_own_form() {
        for without in ["$JS.API", "$JS.a.b.API", "JS.hub.API", "$JS.hub.API.x", "STRATT.JS.API"] {
            assert_eq!(without.parse::<ApiPrefix>().unwrap().domain(), None, "{without}");
        }
    }

    #[test]
    fn requests_and_keys_move_and_nothing_else_does() {
        let hub: ApiPrefix = "$JS.hub.API".parse().unwrap();
        for (subject, wanted) in [
            ("$JS.API.STREAM.INFO.S", "$JS.hub.API.STREAM.INFO.S"),
            ("$JS.API.DIRECT.GET.KV_b.$KV.b.k", "$JS.hub.API.DIRECT.GET.KV_b.$KV.b.k"),
            ("$KV.b.k", "$JS.hub.API.$KV.b.k"),
            ("$JS.ACK.S.c.*.*.*.*.*", "$JS.ACK.S.c.*.*.*.*.*"),
            ("$JS.APIS.x", "$JS.APIS.x"),
            ("strat.dev.unit.published", "strat.dev.unit.published"),
        ] {
            assert_eq!(hub.moved(subject.to_owned()), wanted);
            assert_eq!(hub.moved(wanted.to_owned()), wanted);
            assert_eq!(ApiPrefix::default().moved(subject.to_owned()), subject);
        }
    }
}
