//! Text that others wrote, made safe for a page; times and sizes as text. Escaping for HTML is the templates'.

use crate::{console::hostile::is_hostile, contract::envelope::timestamp};
use maud::{Markup, html};
use std::time::Duration;
use time::OffsetDateTime;

/// The most bytes of foreign text that a page shows in one place.
const MOST: usize = 16 * 1024;

/// Returns the text on one line, with hostile characters as escapes of Rust, and cut at 16 KiB.
pub(super) fn line(text: &str) -> String {
    escaped(text, |_| false)
}

/// Returns the text with its line breaks, other hostile characters as escapes of Rust, and cut at 16 KiB.
pub(super) fn lines(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len().min(MOST));
    for character in text.chars() {
        if safe.len() >= MOST {
            safe.push('…');
            break;
        }
        if is_hostile(character) && !is_kept(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Returns the bytes as they are shown: as text where they are UTF-8, otherwise as hexadecimal digits; and whether
/// there are more.
pub(super) fn bytes(bytes: &[u8]) -> (String, bool) {
    let cut = bytes.len() > MOST;
    let text = std::str::from_utf8(bytes).map_or_else(
        |_| {
            let rows = bytes.get(..MOST).unwrap_or(bytes).chunks(16).map(hex::encode);
            rows.collect::<Vec<_>>().join("\n")
        },
        lines,
    );
    (text, cut)
}

/// Returns a time to the second, in UTC.
pub(super) fn time(time: OffsetDateTime) -> Markup {
    let machine = timestamp::format(time);
    let human = machine.get(..19).unwrap_or(&machine).replace('T', " ");
    html! { time datetime=(machine) { (human) " UTC" } }
}

/// Returns a time, or a dash.
pub(super) fn time_or_dash(found: Option<OffsetDateTime>) -> Markup {
    html! { @if let Some(found) = found { (time(found)) } @else { "–" } }
}

/// Returns a number with a thin space between thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Returns a size in bytes, KiB, MiB or GiB.
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x400 => return format!("{bytes} bytes"),
        0x400..0x10_0000 => (0x400, "KiB"),
        0x10_0000..0x4000_0000 => (0x10_0000, "MiB"),
        _ => (0x4000_0000, "GiB"),
    };
    format!("{}.{} {name}", number(bytes / unit), bytes % unit * 10 / unit)
}

/// Returns a time span to the second, with its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        assert_eq!(line("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\\n\\u{202e}b");
        assert_eq!(lines("a\r\nb"), "a\\r\nb");
        assert!(line(&"\u{1}".repeat(200_000)).len() < MOST + 16);
        assert_eq!(bytes(b"\xff\x00"), ("ff00".to_owned(), false));
        let (shown, cut) = bytes(&vec![0xff; 200 * 1024]);
        assert!(cut && shown.len() < 3 * MOST);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([7, 1234, 1_234_567].map(number), ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
        assert_eq!([7, 1536, 5 << 20].map(size), ["7 bytes", "1.5 KiB", "5.0 MiB"]);
        let spans = [7, 67, 3667, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["7 s", "1 min 7 s", "1 h 1 min", "1 d 1 h"]);
    }
}
