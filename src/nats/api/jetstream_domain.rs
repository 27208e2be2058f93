//! The name of a JetStream domain.

use crate::contract::value::{ParseError, is_token, text_traits};
use std::{str::FromStr, sync::Arc};

/// The name of a JetStream domain, `domain` in the block `jetstream` of a server: 1 to 64 of `A-Z a-z 0-9 _ -`.
///
/// It is a part of the network of servers, such as a hub or one of its leaf nodes, and has nothing to do with the
/// [`Domain`](crate::Domain) of a unit.
///
/// ```
/// use stratt_event_bridge::{BridgeOptions, JetStreamDomain};
///
/// let hub: JetStreamDomain = "hub".parse()?;
/// let options = BridgeOptions::default().with_jetstream_domain(hub);
/// assert_eq!(options.api_prefix().as_str(), "$JS.hub.API");
/// assert!("hub.>".parse::<JetStreamDomain>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JetStreamDomain(Arc<str>);

impl JetStreamDomain {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JetStreamDomain {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_token(text, 64, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new("JetStream domain", "must be 1 to 64 of A-Z a-z 0-9 _ -", text))
        }
    }
}

text_traits!(JetStreamDomain);
