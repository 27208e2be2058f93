//! The one form of time on the wire: RFC 3339, UTC, milliseconds.

use time::{
    OffsetDateTime, UtcOffset,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

const WIRE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The time in UTC, cut to milliseconds, since JavaScript and Python drop the rest.
///
/// `None` outside the years 0 to 9999, which RFC 3339 cannot write.
pub(super) fn normal(time: OffsetDateTime) -> Option<OffsetDateTime> {
    let utc = time.checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&utc.year()).then_some(())?;
    utc.replace_millisecond(utc.millisecond()).ok()
}

pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    normal(OffsetDateTime::parse(text, &Rfc3339).ok()?)
}

pub(super) fn format(time: OffsetDateTime) -> Result<String, time::error::Format> {
    time.format(WIRE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_shifted_and_fractions_cut() {
        for (read, written) in [
            ("2026-03-31T10:15:00.000Z", "2026-03-31T10:15:00.000Z"),
            ("2026-03-31T10:15:00Z", "2026-03-31T10:15:00.000Z"),
            ("2026-03-31T12:15:00.123987+02:00", "2026-03-31T10:15:00.123Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(format(parse(read).unwrap()).unwrap(), written);
        }
    }

    #[test]
    fn times_that_utc_cannot_hold_are_refused() {
        for text in
            ["9999-12-31T23:59:59.999999999-23:59", "0000-01-01T00:00:00+00:01", "", "now", "2026-03-31"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
