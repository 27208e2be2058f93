//! The one form of time on the wire: RFC 3339, UTC, milliseconds.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Returns the time in UTC, cut to milliseconds, since JavaScript and Python drop the rest.
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

/// Writes a time in UTC, in the years 0 to 9999, as `2026-03-31T10:15:00.000Z`. By hand, which takes a tenth of the
/// time that a format description takes.
pub(crate) fn format(time: OffsetDateTime) -> String {
    let mut text = String::with_capacity("2026-03-31T10:15:00.000Z".len());
    let mut put = |number: u32, digits: u32, end: char| {
        for place in (0..digits).rev() {
            text.extend(char::from_digit(number / 10_u32.pow(place) % 10, 10));
        }
        text.push(end);
    };
    put(time.year().unsigned_abs(), 4, '-');
    put(u8::from(time.month()).into(), 2, '-');
    put(time.day().into(), 2, 'T');
    put(time.hour().into(), 2, ':');
    put(time.minute().into(), 2, ':');
    put(time.second().into(), 2, '.');
    put(time.millisecond().into(), 3, 'Z');
    text
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
            assert_eq!(format(parse(read).unwrap()), written);
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
