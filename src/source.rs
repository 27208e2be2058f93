//! Who wrote an envelope.

use crate::value::{is_token, text_value};

/// Who wrote an envelope: `service:component:version`, such as `orchestrator-http:publisher:1.4.0`.
///
/// Service and component are `[A-Za-z0-9._-]{1,64}`; the version may hold `+` as well.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Box<str>);

const PART_MAX_BYTES: usize = 64;

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
        is_token(service, PART_MAX_BYTES, is_name_byte)
            && is_token(component, PART_MAX_BYTES, is_name_byte)
            && is_token(version, PART_MAX_BYTES, |b| is_name_byte(b) || b == b'+')
    },
    "must be service:component:version, each 1 to 64 of A-Z a-z 0-9 . _ - (and + in the version)",
    3 * PART_MAX_BYTES + 2,
    "[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._+-]{1,64}"
);

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}
