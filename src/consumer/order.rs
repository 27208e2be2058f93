//! The order in which the events of one unit are handled.

/// An order in which the events of one unit are handled. Complete: only one event in flight would be stricter than per
/// unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// One at a time in each process, started in stream order; an event that fails is retried after its successors.
    #[default]
    Relaxed,
    /// Strictly in stream order, across failures and any number of processes.
    ///
    /// An event that fails is retried in place, while its successors wait, until it is handled or dead-lettered. One
    /// process on the durable receives at a time: the server pins it. After a fail-over, the next process begins once
    /// everything that the first one left unanswered has been redelivered to it, after about the ack wait. Different
    /// units run in parallel.
    ///
    /// With the default delays a failing event is retried for 2 h 42 min, and for as long the later events of its unit
    /// wait. Other units go on. Each event that waits, the failing one and those behind it that were delivered, takes
    /// one of the [`max_in_flight`](crate::ConsumerOptions::with_max_in_flight) places: once all are taken, nothing
    /// else is received. Shorter [delays](crate::ConsumerOptions::with_retry_delays) or more places are the cure.
    /// Events that wait for an open [circuit breaker](crate::CircuitBreaker) keep their places, too.
    ///
    /// Needs nats-server 2.11, and the same `max_in_flight` in all processes. A redriven event gets a new place, at the
    /// end of the stream, unless what follows it was [parked](crate::ConsumerOptions::with_parking).
    PerUnit,
}
