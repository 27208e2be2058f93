//! Errors without their variable parts, so that those of one cause are alike.

/// Returns the error with URIs, identifiers and numbers replaced by `<uri>`, `<id>` and `<n>`.
///
/// A word is variable where it has a digit in it: of hexadecimal digits and hyphens only, eight or more, it is an
/// identifier; in all others, each group of digits with what joins them (`12:30:05`, `10.0.0.1`) is a number. A word
/// with `://` in it is a URI.
pub(super) fn pattern(error: &str) -> String {
    let mut pattern = String::with_capacity(error.len());
    for part in error.split_inclusive(char::is_whitespace) {
        let word = part.trim_end();
        push_word(&mut pattern, word);
        pattern.push_str(part.get(word.len()..).unwrap_or_default());
    }
    pattern
}

fn push_word(pattern: &mut String, word: &str) {
    let is_edge = |c: char| !c.is_alphanumeric();
    let core = word.trim_matches(is_edge);
    let (before, after) = word.split_once(core).unwrap_or((word, ""));
    pattern.push_str(before);
    if core.contains("://") {
        pattern.push_str("<uri>");
    } else if is_identifier(core) {
        pattern.push_str("<id>");
    } else {
        push_numbers(pattern, core);
    }
    pattern.push_str(after);
}

fn is_identifier(word: &str) -> bool {
    let is_of_one = |c: char| c.is_ascii_hexdigit() || c == '-';
    word.len() >= 8 && word.chars().all(is_of_one) && word.chars().any(|c| c.is_ascii_digit())
}

fn push_numbers(pattern: &mut String, word: &str) {
    let mut is_in_number = false;
    let mut joints = String::new();
    for c in word.chars() {
        if c.is_ascii_digit() {
            joints.clear();
            if !is_in_number {
                pattern.push_str("<n>");
            }
            is_in_number = true;
        } else if is_in_number && joints.is_empty() && matches!(c, '.' | ',' | ':' | '-' | '/' | '+' | 'T') {
            // It belongs to the number if another digit follows.
            joints.push(c);
        } else {
            pattern.push_str(&joints);
            joints.clear();
            is_in_number = false;
            pattern.push(c);
        }
    }
    pattern.push_str(&joints);
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn errors_of_one_cause_are_alike() {
        for (errors, wanted) in [
            (
                ["row 17 of table units is locked", "row 4 of table units is locked"],
                "row <n> of table units is locked",
            ),
            (
                [
                    "connect to 10.0.0.7:5432: timed out after 5.0s",
                    "connect to 127.0.0.1:5433: timed out after 30s",
                ],
                "connect to <n>: timed out after <n>s",
            ),
            (
                [
                    "no unit strat://dev/rule/a@1.0.0, run 0190b5c2-7c3e-7000-8000-000000000001",
                    "no unit strat://core/role/b@2.1.0-rc.1, run 0190b5c2-ffff-7000-8000-0000000000ab",
                ],
                "no unit <uri>, run <id>",
            ),
            (["at 2026-03-31T10:15:00.000Z (\"x\")", "at 2025-01-01T00:00:00Z (\"x\")"], "at <n>Z (\"x\")"),
            (["grün  wird\tnie", "grün  wird\tnie"], "grün  wird\tnie"),
            (["facade decade deadbeef", "facade decade deadbeef"], "facade decade deadbeef"),
            (["", ""], ""),
            (["-- ::", "-- ::"], "-- ::"),
        ] {
            for error in errors {
                assert_eq!(pattern(error), wanted);
            }
        }
    }

    #[test]
    fn different_causes_stay_apart() {
        assert_ne!(pattern("connect to db: refused"), pattern("connect to db: timed out"));
        assert_ne!(
            pattern("relation \"units\" does not exist"),
            pattern("relation \"chains\" does not exist")
        );
    }
}
