//! What to do with a durable that others have set up or changed.

/// What `build()` does when the durable exists with other settings than the options ask for.
///
/// Complete: a durable that differs is refused, taken as it is, or changed.
///
/// Two versions of a service that both update would change the durable back and forth with every restart; a running
/// consumer never changes it. What the server cannot change, such as the ack policy, is never updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Drift {
    /// It is refused with [`ConsumerDrift`](crate::ConsumeErrorKind::ConsumerDrift), which names the field, what was
    /// found and what was wanted.
    #[default]
    Refuse,
    /// It is used as it is, if the guarantees hold with it; for a durable that an operator set up.
    ///
    /// They do when it delivers at once and without a limit, waits at least as long as the lease for an explicit ack, is
    /// never removed for being idle, is kept in a file with as many copies as its stream, and its filters match only events
    /// that have a handler. The ack wait it has replaces the
    /// one of the options.
    Adopt,
    /// It is changed to what the options ask for. What is not set by options, such as a description, stays.
    Update,
}
