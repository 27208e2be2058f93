//! Metrics of forwarding.

use crate::{
    telemetry::instrument::{self, Counter, Gauge, counter, gauge, gauge_in_seconds},
    topology::Forwarding,
};

/// The instruments of a watch.
#[derive(Debug)]
pub(super) struct Meter {
    stalled: Gauge,
    behind: Gauge,
    behind_for: Gauge,
    heals: Counter,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            stalled: gauge(instrument::FORWARDING_STALLED, "1 while forwarding to Choco is stalled.", &[]),
            behind: gauge(instrument::FORWARDING_BEHIND, "Events that have not reached Choco, at most.", &[]),
            behind_for: gauge_in_seconds(
                instrument::FORWARDING_BEHIND_FOR,
                "For how long an event has not reached Choco.",
                &[],
            ),
            heals: counter(instrument::FORWARDING_HEALS, "Step-downs to heal forwarding.", &[]),
        }
    }

    pub(super) fn shows(&self, seen: &Forwarding) {
        self.stalled.set(u64::from(seen.is_stalled()));
        self.behind.set(seen.behind().unwrap_or_default());
        self.behind_for.set_seconds(seen.behind_for().unwrap_or_default());
    }

    pub(super) fn heals(&self) {
        self.heals.add(1);
    }
}
