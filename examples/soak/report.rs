//! The report at the end.

use crate::settings::Settings;
use ledger::Balance;
use std::{collections::BTreeMap, fmt, time::Duration};
use time::OffsetDateTime;

/// A fault that was injected.
#[derive(Debug, Clone)]
pub struct Injected {
    what: &'static str,
}

impl Injected {
    pub fn new(what: &'static str) -> Self {
        Self { what }
    }
}

pub struct Report {
    pub settings: Settings,
    pub version: String,
    pub took: Duration,
    pub faults: Vec<Injected>,
    pub latencies: Vec<Duration>,
    pub ended_by_themselves: Vec<String>,
    pub drained: Result<(), String>,
    pub balance: Balance,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.drained.is_ok() && self.ended_by_themselves.is_empty() && self.balance.violations().is_empty()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let index = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { minutes, seed, is_ordered, explained } = self.settings;
        let ordered = if is_ordered { " --ordered" } else { "" };
        writeln!(f, "soak of {minutes} min, {}, took {:.0?}", OffsetDateTime::now_utc().date(), self.took)?;
        writeln!(
            f,
            "cargo run --release -p examples --example soak -- --minutes {minutes} --seed {seed}{ordered}"
        )?;
        writeln!(f, "three nats-servers {}, three replicas, three consumer processes", self.version)?;
        writeln!(f, "{explained} events were explained\n")?;
        let mut kinds: BTreeMap<_, u32> = BTreeMap::new();
        for fault in &self.faults {
            *kinds.entry(fault.what).or_default() += 1;
        }
        for (what, count) in kinds {
            writeln!(f, "{what:<28} {count:>4}")?;
        }
        writeln!(f, "{:<28} {:>4}\n", "faults", self.faults.len())?;
        let [p50, p99, most] = [50, 99, 100].map(|percent| self.percentile(percent));
        writeln!(f, "publish: p50 {p50:.1?}, p99 {p99:.1?}, longest {most:.1?}\n\n{}", self.balance)?;
        for ended in &self.ended_by_themselves {
            writeln!(f, "{ended}")?;
        }
        match &self.drained {
            Ok(()) => {}
            Err(left) => writeln!(f, "not all was answered: {left}")?,
        }
        write!(f, "{}", if self.is_clean() { "CLEAN" } else { "VIOLATED" })
    }
}
