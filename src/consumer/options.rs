//! How a durable consumer treats what it receives.

use crate::{
    consumer::{Drift, Order},
    contract::envelope::Envelope,
};
use async_nats::jetstream::consumer::DeliverPolicy;
use std::time::Duration;

/// A dead process would keep its work for longer than anybody wants, and sums of times could overflow.
const LONGEST_ACK_WAIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a durable consumer treats what it receives.
///
/// The three times hang together: a handler runs for at most the processing timeout, its claim lasts for the lease,
/// and the server waits for the ack wait before it redelivers. Lease and ack wait follow from the processing
/// timeout unless they are set; `build()` checks that processing timeout < lease <= ack wait.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerOptions {
    pub(super) processing_timeout: Duration,
    pub(super) lease: Option<Duration>,
    pub(super) ack_wait: Option<Duration>,
    pub(super) max_attempts: u32,
    pub(super) retry_delays: Vec<Duration>,
    pub(super) max_in_flight: usize,
    pub(super) shutdown_grace: Duration,
    pub(super) deliver_policy: DeliverPolicy,
    pub(super) max_envelope_bytes: usize,
    pub(super) allows_short_store_retention: bool,
    pub(super) order: Order,
    pub(super) drift: Drift,
    pub(super) checks_streams: bool,
}

impl Default for ConsumerOptions {
    /// 30 s for a handler, 5 attempts after 1 s, 5 s, 30 s and 2 min, 64 in flight, 30 s of grace, from the first event.
    fn default() -> Self {
        Self {
            processing_timeout: Duration::from_secs(30),
            lease: None,
            ack_wait: None,
            max_attempts: 5,
            retry_delays: [1, 5, 30, 120].map(Duration::from_secs).to_vec(),
            max_in_flight: 64,
            shutdown_grace: Duration::from_secs(30),
            deliver_policy: DeliverPolicy::All,
            max_envelope_bytes: Envelope::MAX_BYTES,
            allows_short_store_retention: false,
            order: Order::default(),
            drift: Drift::default(),
            checks_streams: true,
        }
    }
}

impl ConsumerOptions {
    /// How long a handler may run; then its future is dropped and the attempt has failed.
    #[must_use]
    pub fn with_processing_timeout(mut self, timeout: Duration) -> Self {
        self.processing_timeout = timeout;
        self
    }

    /// How long a claim lasts; otherwise the processing timeout and 10 s.
    ///
    /// What is left after the processing timeout is the time to claim and to settle.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long the server waits for a sign of life before it redelivers; otherwise the processing timeout and 15 s.
    #[must_use]
    pub fn with_ack_wait(mut self, ack_wait: Duration) -> Self {
        self.ack_wait = Some(ack_wait);
        self
    }

    /// How often a handler is run for one event before the event is dead-lettered.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The delays after the first, second, ... failed attempt; the last one stands for all further ones.
    ///
    /// Each is spread by a fifth either way.
    #[must_use]
    pub fn with_retry_delays(mut self, delays: impl Into<Vec<Duration>>) -> Self {
        self.retry_delays = delays.into();
        self
    }

    /// How many messages are held at once, waiting or running. The server is asked for no more.
    #[must_use]
    pub fn with_max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// How long running handlers may go on after shutdown was asked for.
    #[must_use]
    pub fn with_shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Where a new durable begins; otherwise with the oldest event. It cannot be changed afterwards.
    #[must_use]
    pub fn with_deliver_policy(mut self, policy: DeliverPolicy) -> Self {
        self.deliver_policy = policy;
        self
    }

    /// The most bytes an envelope may have, otherwise 256 KiB; a larger one is dead-lettered unread.
    #[must_use]
    pub fn with_max_envelope_bytes(mut self, bytes: usize) -> Self {
        self.max_envelope_bytes = bytes;
        self
    }

    /// In which order the events of one unit are handled; [`Order::Relaxed`] unless set. Durables that exist cannot
    /// change it.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Accepts a dedupe store that forgets sooner than the stream does.
    ///
    /// An event that the stream still has, and the store no longer, may be handled again when the durable is
    /// created anew or a dead letter is redriven.
    #[must_use]
    pub fn allow_short_store_retention(mut self) -> Self {
        self.allows_short_store_retention = true;
        self
    }

    /// What `build()` does when the durable exists with other settings; [`Drift::Refuse`] unless set.
    #[must_use]
    pub fn with_drift(mut self, drift: Drift) -> Self {
        self.drift = drift;
        self
    }

    /// Does not look at the streams, for a user that lacks the permission to (`$JS.API.STREAM.INFO.*`).
    ///
    /// Then nobody checks that the dead-letter stream exists, that no stream drops what nobody has seen, and that
    /// the store remembers for as long as events are kept: whoever has the permission should
    /// [`verify`](crate::EventBridge::verify). Nor does the consumer know when an event expires.
    #[must_use]
    pub fn without_stream_checks(mut self) -> Self {
        self.checks_streams = false;
        self
    }

    /// See [`with_processing_timeout`](Self::with_processing_timeout).
    #[must_use]
    pub fn processing_timeout(&self) -> Duration {
        self.processing_timeout
    }

    /// See [`with_lease`](Self::with_lease).
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease.unwrap_or(self.processing_timeout.saturating_add(Duration::from_secs(10)))
    }

    /// See [`with_ack_wait`](Self::with_ack_wait).
    #[must_use]
    pub fn ack_wait(&self) -> Duration {
        self.ack_wait.unwrap_or(self.processing_timeout.saturating_add(Duration::from_secs(15)))
    }

    /// What is wrong with these options and what to change, or `None`.
    pub(super) fn problem(&self) -> Option<String> {
        let (timeout, lease, ack_wait) = (self.processing_timeout, self.lease(), self.ack_wait());
        if timeout.is_zero() {
            Some("processing timeout is zero: give handlers some time".into())
        } else if lease <= timeout {
            Some(format!(
                "lease {lease:?} does not outlast the processing timeout {timeout:?}: lengthen the lease or shorten the timeout"
            ))
        } else if ack_wait < lease {
            Some(format!("ack wait {ack_wait:?} is below the lease {lease:?}: lengthen the ack wait"))
        } else if ack_wait > LONGEST_ACK_WAIT {
            Some(format!("ack wait {ack_wait:?} is above {LONGEST_ACK_WAIT:?}: shorten it"))
        } else if self.max_attempts == 0 {
            Some("max attempts is zero: allow at least one".into())
        } else if self.retry_delays.is_empty() {
            Some("retry delays are empty: give at least one".into())
        } else if self.max_in_flight == 0 {
            Some("max in flight is zero: allow at least one".into())
        } else if self.max_envelope_bytes == 0 {
            Some("max envelope bytes is zero: every event would be dead-lettered".into())
        } else {
            None
        }
    }
}
