//! The summary of a sweeper's run.

/// The summary of a sweeper's run. Each advisory is counted in one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SweepSummary {
    /// Dead letters stored with the reason `exhausted`; a repeat, which the broker drops, is counted again.
    pub exhausted: u64,
    /// Dead letters stored with the reason `rejected`; a repeat, which the broker drops, is counted again.
    pub rejected: u64,
    /// Terminations by consumers that store their own dead letters, such as those of this crate.
    pub already_stored: u64,
    /// Events that their stream no longer had: no dead letter can be made of them. Each is an error in the log.
    pub gone: u64,
    /// Dead letters that could not be stored, or events that could not be read; they are retried.
    pub postponed: u64,
    /// Messages that were no advisories of the server, or were about a stream of another JetStream domain.
    pub ignored: u64,
}
