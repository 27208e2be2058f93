//! The treatment of a durable that others have set up or changed.

/// The action of `build()` when the durable exists with settings other than those of the options.
///
/// Complete: a durable that differs fails the build, is kept as it is, or is updated.
///
/// Two versions of a service that both update would change the durable back and forth with every restart; a running
/// consumer never changes it. What the server cannot change, such as the ack policy, is never updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnMismatch {
    /// Fails with [`Mismatch`](crate::ConsumeErrorKind::Mismatch), which names the field, what was found and what was
    /// wanted.
    #[default]
    Fail,
    /// Keeps the durable as it is, if the guarantees hold with it; for a durable that an operator set up.
    ///
    /// They do when it delivers at once and without a limit, waits at least as long as the lease for an explicit ack,
    /// is never removed for being idle, is kept in a file with as many copies as its stream, and its filters match only
    /// events that have a handler. Its ack wait replaces that of the options.
    Keep,
    /// Changes it to what the options ask for. Settings that no option covers, such as a description, stay.
    Update,
}
