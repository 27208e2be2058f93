//! Jitter for pauses, so that many processes do not come back in step.

use std::{hash::BuildHasher, time::Duration};

/// Returns `pause`, give or take a fifth.
pub(crate) fn spread(pause: Duration) -> Duration {
    // A new `RandomState` hashes with new keys: random enough to keep pauses apart, with no generator to carry.
    let random = std::hash::RandomState::new().hash_one(0_u8);
    spread_by(pause, random)
}

/// Returns `pause`, give or take a fifth, chosen by `random`.
pub(crate) fn spread_by(pause: Duration, random: u64) -> Duration {
    let percent = u32::try_from(80 + random % 41).unwrap_or(100);
    pause.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_spread_by_a_fifth_each_way() {
        let pause = Duration::from_secs(10);
        let spreads: Vec<_> = (0..41).map(|random| spread_by(pause, random)).collect();
        assert_eq!(spreads.iter().min(), Some(&Duration::from_secs(8)));
        assert_eq!(spreads.iter().max(), Some(&Duration::from_secs(12)));
    }
}
