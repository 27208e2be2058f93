//! The command line.

use clap::Parser;
use std::time::Duration;

/// A soak: use with everything failing at random, and a ledger at the end.
#[derive(Debug, Clone, Copy, Parser)]
#[command(name = "soak")]
pub struct Settings {
    /// Length of the soak in minutes
    #[arg(long, default_value_t = 1)]
    pub minutes: u32,
    /// Seed of the events and the faults; random unless set
    #[arg(long, default_value_t = fastrand::u64(..), hide_default_value = true)]
    pub seed: u64,
    /// Lets the consumers keep the order of each unit
    #[arg(long = "ordered")]
    pub is_ordered: bool,
    /// Number of events whose explanation is held against the ledger in the end
    #[arg(long, default_value_t = 30)]
    pub explained: usize,
}

impl Settings {
    pub fn length(&self) -> Duration {
        Duration::from_secs(60) * self.minutes
    }
}
