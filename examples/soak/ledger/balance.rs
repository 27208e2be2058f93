//! The counts and the verdict.

use std::fmt;

/// The counts, in the words of Jepsen's tests, and every violation that was found.
///
/// It sums: attempts are acknowledged, unknown or rejected; every message that the durable is due is settled,
/// dead-lettered or pending; every effect is the only one of its event or is explained by a crash or by a lease that
/// was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// The seed of all random choices.
    pub seed: u64,
    /// Publishes that were begun.
    pub attempts: u64,
    /// Publishes that returned `Ok`.
    pub acknowledged: u64,
    /// Publishes that failed and may have been stored.
    pub unknown: u64,
    /// Publishes that failed and were not stored.
    pub rejected: u64,
    /// Messages in `STRATT_EVENTS`.
    pub stored: u64,
    /// Acknowledged and not stored.
    pub lost: u64,
    /// Never acknowledged, and stored all the same.
    pub recovered: u64,
    /// Stored again within the duplicate window.
    pub stored_duplicates: u64,
    /// Messages that the durable is due.
    pub due: u64,
    /// Deliveries of these messages by the server.
    pub delivered: u64,
    /// Runs of a handler.
    pub runs: u64,
    /// Messages due that are settled.
    pub settled: u64,
    /// Messages due that are dead-lettered.
    pub dead_lettered: u64,
    /// Messages due that are neither.
    pub pending: u64,
    /// Effects made.
    pub effects: u64,
    /// Effects beyond the first of their event.
    pub extra_effects: u64,
    /// Processes that were killed.
    pub crashes: u64,
    /// Claims that were granted because the lease before them had expired.
    pub expiries: u64,
    pub(crate) violations: Vec<String>,
}

impl Balance {
    /// Every violation of a guarantee that was found, a line each.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("seed", self.seed),
            ("attempts", self.attempts),
            ("= acknowledged", self.acknowledged),
            ("+ unknown", self.unknown),
            ("+ rejected", self.rejected),
            ("stored", self.stored),
            ("lost", self.lost),
            ("recovered", self.recovered),
            ("stored duplicates", self.stored_duplicates),
            ("due", self.due),
            ("= settled", self.settled),
            ("+ dead-lettered", self.dead_lettered),
            ("+ pending", self.pending),
            ("delivered", self.delivered),
            ("handler runs", self.runs),
            ("effects", self.effects),
            ("extra effects", self.extra_effects),
            ("crashes", self.crashes),
            ("lease expiries", self.expiries),
        ];
        for (name, count) in rows {
            writeln!(f, "{name:<18} {count:>10}")?;
        }
        write!(f, "{:<18} {:>10}", "violations", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
