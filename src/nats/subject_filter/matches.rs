//! Which subjects a filter matches. `strattctl` includes this file by its path.

/// Returns whether the server delivers `subject` to a durable with this filter.
pub(crate) fn matches(filter: &str, subject: &str) -> bool {
    let (mut wanted, mut tokens) = (filter.split('.'), subject.split('.'));
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_filter_matches_what_the_server_delivers_by_it() {
        for (filter, subject, wanted) in [
            ("strat.*.unit.published", "strat.dev.unit.published", true),
            ("strat.*.unit.published", "strat.dev.unit.published.more", false),
            ("strat.*.unit.published", "strat.dev.unit", false),
            ("strat.dev.unit.published", "strat.core.unit.published", false),
            ("strat.>", "strat.dev.unit.published", true),
            ("strat.>", "strat", false),
            (">", "strat", true),
        ] {
            assert_eq!(matches(filter, subject), wanted, "{filter} {subject}");
        }
    }
}
