//! Who wrote an envelope.

use crate::value::{is_token, text_value};

/// Who wrote an envelope: `service:component:version`, such as `orchestrator-http:publisher:1.4.0`.
///
/// Service and component are `[A-Za-z0-9._-]{1,64}`; the version may hold `+` as well.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Box<str>);

text_value!(
    Source,
    "source",
    |text| {
        let mut parts = text.split(':');
        let (Some(service), Some(component), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        is_token(service, 64, is_name_byte)
            && is_token(component, 64, is_name_byte)
            && is_token(version, 64, |b| is_name_byte(b) || b == b'+')
    },
    "must be service:component:version, each 1 to 64 of A-Z a-z 0-9 . _ - (and + in the version)"
);

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}
