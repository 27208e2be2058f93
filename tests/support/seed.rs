use std::time::{SystemTime, UNIX_EPOCH};

/// Random numbers that can be repeated: the seed is printed, and `SEED` sets it.
pub struct Seed(u64);

impl Seed {
    pub fn new() -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap();
        let seed = std::env::var("SEED").ok().map_or_else(now, |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        Self(seed)
    }

    /// <https://prng.di.unimi.it/splitmix64.c>
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub fn split(&mut self) -> Self {
        Self(self.next())
    }
}
