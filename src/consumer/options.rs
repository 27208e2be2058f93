//! The options of a durable consumer.

use crate::{
    consumer::{CircuitBreaker, OnMismatch, Order, StartAt},
    contract::envelope::Envelope,
};
use std::time::Duration;

/// The longest processing timeout: sums of times must not overflow.
const LONGEST_PROCESSING_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The shortest lease: a quarter of it is the time for a call of the store.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
/// The longest ack wait. Beyond it a dead process would keep its work for too long, and sums of times could overflow.
const LONGEST_ACK_WAIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The options of a durable consumer: times, retries, limits, order, and what is checked.
///
/// A handler runs for at most the processing timeout, which may be hours. While it runs its lease is renewed, and the
/// server gets heartbeats. When its process dies, another one may claim the event once the lease has expired, and gets
/// it from the server after the ack wait, which `build()` checks to be no shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    pub(super) processing_timeout: Duration,
    pub(super) lease: Duration,
    pub(super) ack_wait: Option<Duration>,
    pub(super) max_attempts: u32,
    pub(super) retry_delays: Vec<Duration>,
    pub(super) circuit_breaker: Option<CircuitBreaker>,
    pub(super) max_in_flight: usize,
    pub(super) max_prefetch: usize,
    pub(super) shutdown_grace: Duration,
    pub(super) start_at: StartAt,
    pub(super) max_envelope_bytes: usize,
    pub(super) allows_short_store_retention: bool,
    pub(super) order: Order,
    pub(super) parks: bool,
    pub(super) on_mismatch: OnMismatch,
    pub(super) checks_streams: bool,
}

impl Default for ConsumerOptions {
    /// Returns 30 s for a handler, a lease of 40 s, 8 attempts within 2 h 42 min, a circuit breaker, 64 in flight, 30 s
    /// of grace, from the oldest event.
    fn default() -> Self {
        Self {
            processing_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(40),
            ack_wait: None,
            max_attempts: 8,
            retry_delays: [1, 5, 30, 2 * 60, 10 * 60, 30 * 60, 2 * 60 * 60].map(Duration::from_secs).to_vec(),
            circuit_breaker: Some(CircuitBreaker::default()),
            max_in_flight: 64,
            max_prefetch: 1_024,
            shutdown_grace: Duration::from_secs(30),
            start_at: StartAt::default(),
            max_envelope_bytes: Envelope::MAX_BYTES,
            allows_short_store_retention: false,
            order: Order::default(),
            parks: false,
            on_mismatch: OnMismatch::default(),
            checks_streams: true,
        }
    }
}

impl ConsumerOptions {
    /// Sets how long a handler may run, up to a year. Then its future is dropped and the attempt has failed. Default:
    /// 30 s.
    #[must_use]
    pub fn with_processing_timeout(mut self, timeout: Duration) -> Self {
        self.processing_timeout = timeout;
        self
    }

    /// Sets how long a claim lasts without a renewal. Default: 40 s.
    ///
    /// It is renewed every quarter of it while the handler runs, so this is how long the work of a dead process waits
    /// for another one. A handler whose lease was lost, since the store did not answer for so long or the handler
    /// blocked its thread, is dropped.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the ack wait. The server redelivers a message after this time without an ack or heartbeat. Default: lease +
    /// 5 s.
    #[must_use]
    pub fn with_ack_wait(mut self, ack_wait: Duration) -> Self {
        self.ack_wait = Some(ack_wait);
        self
    }

    /// Sets how often the handler may fail for one event before the event is dead-lettered. Default: 8, which with the
    /// default delays is after 2 h 42 min.
    ///
    /// Deferred attempts do not count ([`HandlerError::defer`](crate::HandlerError::defer), an open circuit breaker, a
    /// shutdown), nor do the first two that ended with their process.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the delays after the first, second, ... failed attempt; the last one is used for all further ones. Default:
    /// 1 s, 5 s, 30 s, 2 min, 10 min, 30 min, 2 h.
    ///
    /// Each is spread by up to a fifth either way. With [`Order::PerUnit`] the later events of the unit wait as long.
    #[must_use]
    pub fn with_retry_delays(mut self, delays: impl Into<Vec<Duration>>) -> Self {
        self.retry_delays = delays.into();
        self
    }

    /// Sets the circuit breakers, one for each event type and process; `None` switches them off. Default:
    /// [`CircuitBreaker::default`].
    #[must_use]
    pub fn with_circuit_breaker(mut self, breaker: impl Into<Option<CircuitBreaker>>) -> Self {
        self.circuit_breaker = breaker.into();
        self
    }

    /// Sets how many messages may be in flight here at once: being claimed, or with a handler that runs. As many again
    /// may be on their way to be settled, while the next ones are claimed. Default: 64.
    #[must_use]
    pub fn with_max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// Sets how many messages may be held here, those in flight among them. Default: 1,024.
    ///
    /// As many are asked for as will begin within 100 ms at the rate seen lately, at least
    /// [`max_in_flight`](Self::with_max_in_flight) and beyond that at most 16 MiB: handlers that take longer hold no
    /// more than run, and leave the rest to other processes. What waits costs no attempt. A number up to
    /// `max_in_flight` switches it off, and [`Order::PerUnit`] does.
    #[must_use]
    pub fn with_max_prefetch(mut self, messages: usize) -> Self {
        self.max_prefetch = messages;
        self
    }

    /// Sets how long running handlers may go on once shutdown is asked for. Default: 30 s.
    #[must_use]
    pub fn with_shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Sets where a new durable begins; [`StartAt::All`] unless set. It cannot be changed afterwards.
    #[must_use]
    pub fn with_start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// Sets how many bytes an envelope may have; a larger one is dead-lettered unread. Default: 256 KiB.
    #[must_use]
    pub fn with_max_envelope_bytes(mut self, bytes: usize) -> Self {
        self.max_envelope_bytes = bytes;
        self
    }

    /// Sets the order in which the events of one unit are handled; [`Order::Relaxed`] unless set. A durable that exists
    /// cannot change it.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets whether events are parked behind a dead letter of their unit. Default: `false`; it needs
    /// [`Order::PerUnit`].
    ///
    /// A parked event is dead-lettered unhandled, with the reason
    /// [`Parked`](crate::dead_letter::DeadLetterReason::Parked), and costs no attempt. Once the first dead letter of
    /// the unit was redriven and handled, or was discarded, the next one follows by itself, and so on, so that the
    /// unit's events are handled in stream order all the same. Other units are not held up. The user needs further
    /// [permissions](crate::acl::ConsumerRole::parking).
    ///
    /// All processes of a durable need the same setting. Before it is switched off, its dead letters are to be redriven
    /// or discarded: a consumer without it leaves them in place.
    #[must_use]
    pub fn with_parking(mut self, park: bool) -> Self {
        self.parks = park;
        self
    }

    /// Sets whether the dedupe store may forget sooner than the stream does. Default: `false`, and `build()` fails
    /// then.
    ///
    /// An event that the stream still has, and the store no longer, may be handled again when the durable is recreated
    /// or a dead letter is redriven.
    #[must_use]
    pub fn with_short_store_retention(mut self, allow: bool) -> Self {
        self.allows_short_store_retention = allow;
        self
    }

    /// Sets what `build()` does when the durable exists with other settings; [`OnMismatch::Fail`] unless set.
    #[must_use]
    pub fn with_on_mismatch(mut self, on_mismatch: OnMismatch) -> Self {
        self.on_mismatch = on_mismatch;
        self
    }

    /// Sets whether the streams are looked at. Default: `true`; `false` is for a user without the permission to
    /// (`$JS.API.STREAM.INFO.*`).
    ///
    /// Without it nothing here checks that the dead-letter stream exists, that no stream drops unseen events, and that
    /// the store remembers for as long as events are kept: let a user who has the permission
    /// [`verify`](crate::EventBridge::verify). Nor does the consumer notice when an event expires.
    #[must_use]
    pub fn with_stream_checks(mut self, check: bool) -> Self {
        self.checks_streams = check;
        self
    }

    /// Returns the [processing timeout](Self::with_processing_timeout).
    #[must_use]
    pub fn processing_timeout(&self) -> Duration {
        self.processing_timeout
    }

    /// Returns the [lease](Self::with_lease).
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns the [ack wait](Self::with_ack_wait).
    #[must_use]
    pub fn ack_wait(&self) -> Duration {
        self.ack_wait.unwrap_or(self.lease.saturating_add(Duration::from_secs(5)))
    }

    /// Returns the first contradiction in these options and how to resolve it, or `None`.
    pub(super) fn problem(&self) -> Option<String> {
        let (timeout, lease, ack_wait) = (self.processing_timeout, self.lease, self.ack_wait());
        if timeout.is_zero() {
            Some("processing timeout is zero: give handlers some time".into())
        } else if timeout > LONGEST_PROCESSING_TIMEOUT {
            Some(format!(
                "processing timeout {timeout:?} is above {LONGEST_PROCESSING_TIMEOUT:?}: shorten it"
            ))
        } else if lease < SHORTEST_LEASE {
            Some(format!(
                "lease {lease:?} is below {SHORTEST_LEASE:?}: lengthen it, so that it can be renewed"
            ))
        } else if ack_wait < lease {
            Some(format!("ack wait {ack_wait:?} is below the lease {lease:?}: lengthen the ack wait"))
        } else if ack_wait > LONGEST_ACK_WAIT {
            Some(format!("ack wait {ack_wait:?} is above {LONGEST_ACK_WAIT:?}: shorten it"))
        } else if self.max_attempts == 0 {
            Some("max attempts is zero: allow at least one".into())
        } else if self.retry_delays.is_empty() {
            Some("retry delays are empty: give at least one".into())
        } else if let Some(problem) = self.circuit_breaker.as_ref().and_then(CircuitBreaker::problem) {
            Some(problem)
        } else if self.parks && self.order != Order::PerUnit {
            Some("parking needs strict order: set `Order::PerUnit` or leave out `with_parking`".into())
        } else if self.max_in_flight == 0 {
            Some("max in flight is zero: allow at least one".into())
        } else if self.max_envelope_bytes == 0 {
            Some("max envelope bytes is zero: every event would be dead-lettered".into())
        } else if self.start_at == StartAt::Sequence(0) {
            Some("start at sequence 0: sequences begin at 1".into())
        } else if self.start_at.deliver_policy().is_none() {
            Some("start time is outside the years 0 to 9999: choose another".into())
        } else {
            None
        }
    }
}
