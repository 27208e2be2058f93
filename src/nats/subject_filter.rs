//! The filters of JetStream: which subjects they match.

use async_nats::jetstream::consumer::Config;

/// Returns the filters of a durable, which are in one of two settings.
pub(crate) fn filters(config: &Config) -> Vec<String> {
    let mut filters = config.filter_subjects.clone();
    filters.extend(Some(config.filter_subject.clone()).filter(|filter| !filter.is_empty()));
    filters.sort();
    filters
}

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

/// Returns whether a subject can match both filters.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
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
