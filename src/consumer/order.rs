//! In which order the events of one unit are handled.

/// In which order the events of one unit are handled. Complete: stricter than per unit is one in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// One at a time in each process, started in stream order; an event that fails is retried after those that follow.
    #[default]
    Relaxed,
    /// Strictly in stream order, whatever fails and in however many processes.
    ///
    /// An event that fails is retried in place, while its successors wait, until it is handled or dead-lettered. Of all
    /// processes on the durable one receives at a time (the server pins it); another takes over when it is gone, after
    /// all that the first one left unanswered has come to it: about the ack wait. Different units run in parallel.
    ///
    /// Needs nats-server 2.11, and the same `max_in_flight` in all processes. A redriven event takes a new place, at
    /// the end of the stream.
    PerUnit,
}
