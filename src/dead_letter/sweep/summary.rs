//! What a sweeper did.

/// What a sweeper did between its start and its end. Each advisory is counted in one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SweepSummary {
    /// Dead letters stored with the reason `exhausted`; a repeat, which the broker drops, is counted again.
    pub exhausted: u64,
    /// Dead letters stored with the reason `rejected`; a repeat, which the broker drops, is counted again.
    pub rejected: u64,
    /// Terminations by consumers that file their own dead letters, such as those of this crate.
    pub already_filed: u64,
    /// Events that their stream no longer had: no dead letter can be made of them. Each is an error in the log.
    pub gone: u64,
    /// Dead letters that could not be stored, or events that could not be read; to be tried again.
    pub postponed: u64,
    /// Messages that were no advisories of the server.
    pub ignored: u64,
}
