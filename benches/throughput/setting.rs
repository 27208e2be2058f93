//! Settings from the environment.

/// The value of `name`, or `default` where it is not set, no number, or zero.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    let value = std::env::var(name).ok().and_then(|value| value.parse().ok());
    value.filter(|value| *value > 0).unwrap_or(default)
}
