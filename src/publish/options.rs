//! The options of a bridge.

use crate::nats::api::{ApiPrefix, JetStreamDomain};
use std::time::Duration;

/// The longest time: sums of longer ones could overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The options of a bridge: timeouts, the number of publishes in flight, what is sent, and where JetStream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeOptions {
    attempt_timeout: Duration,
    retry_budget: Duration,
    max_in_flight: usize,
    verify_duplicates: bool,
    cloud_events: bool,
    api_prefix: ApiPrefix,
}

impl Default for BridgeOptions {
    /// Returns attempts of 5 s within a budget of 20 s (the election of a stream's leader takes up to 9 s), with 256 in
    /// flight.
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(5),
            retry_budget: Duration::from_secs(20),
            max_in_flight: 256,
            verify_duplicates: false,
            cloud_events: false,
            api_prefix: ApiPrefix::default(),
        }
    }
}

impl BridgeOptions {
    /// Sets how long one attempt waits for the broker's acknowledgement before it is repeated. Times longer than a day
    /// count as a day.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets how long a publish is repeated before it fails. Times longer than a day count as a day.
    ///
    /// It must stay below the duplicate window of the stream (2 minutes by default), which is what makes a repeat
    /// harmless: [`provision`](crate::EventBridge::provision) and [`verify`](crate::EventBridge::verify) check that.
    #[must_use]
    pub fn with_retry_budget(mut self, budget: Duration) -> Self {
        self.retry_budget = budget.min(LONGEST);
        self
    }

    /// Sets how many unacknowledged publishes [`publish_all`](crate::EventBridge::publish_all) has at once. Zero counts
    /// as one.
    #[must_use]
    pub fn with_max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight.max(1);
        self
    }

    /// Sets whether a publish that the broker dropped as a duplicate reads what is stored in its place, and succeeds
    /// only if that is the same fact.
    ///
    /// Message ids can be predicted. Where others may write to the stream as well, one of them could store something
    /// under the id of an event before it is published, and the broker would drop the event as a duplicate. With this,
    /// such a publish fails with [`Suppressed`](crate::PublishErrorKind::Suppressed). It costs a read for every
    /// duplicate, and needs the permission to publish to `$JS.API.STREAM.MSG.GET.STRATT_EVENTS` (and
    /// `...STRATT_DLQ` for dead letters). Off unless set.
    #[must_use]
    pub fn with_verify_duplicates(mut self, verify: bool) -> Self {
        self.verify_duplicates = verify;
        self
    }

    /// Sets whether events are [CloudEvents](https://cloudevents.io) 1.0 in binary mode as well: headers `ce-id`,
    /// `ce-source`, `ce-type`, `ce-time`, `ce-subject` and so on, with the envelope as data.
    ///
    /// For programs that know CloudEvents and not this contract. It adds some 260 bytes to each event and changes
    /// nothing else: the envelope, its key and the message id stay as they are. Off unless set. See
    /// [`docs::wire`](crate::docs::wire#cloudevents).
    ///
    /// Outbox relays follow this setting: they decode each stored envelope and quarantine rows that do not decode.
    #[must_use]
    pub fn with_cloud_events(mut self, write: bool) -> Self {
        self.cloud_events = write;
        self
    }

    /// Sets the JetStream domain that has the streams, such as that of the hub for a service on a leaf node. Replaces
    /// an [API prefix](Self::with_api_prefix).
    ///
    /// Publishing, consuming, provisioning and dead letters then go to that domain, and a publish that a stream of
    /// another domain has acknowledged fails with [`WrongDomain`](crate::PublishErrorKind::WrongDomain). A
    /// [`KvStore`](crate::dedupe::KvStore) has an option of its own, which
    /// [`create_kv_store`](crate::EventBridge::create_kv_store) sets. Unless set, JetStream is where the server of the
    /// connection looks for it. See [`docs::operating`](crate::docs::operating#leaf-nodes-and-imported-jetstream).
    #[must_use]
    pub fn with_jetstream_domain(self, domain: JetStreamDomain) -> Self {
        self.with_api_prefix(domain.into())
    }

    /// Sets the prefix of requests to JetStream, for an account that imports JetStream of another account. Replaces a
    /// [domain](Self::with_jetstream_domain). `$JS.API` unless set.
    ///
    /// Events, dead letters and acknowledgements have the same subjects with any prefix.
    #[must_use]
    pub fn with_api_prefix(mut self, prefix: ApiPrefix) -> Self {
        self.api_prefix = prefix;
        self
    }

    /// See [`with_attempt_timeout`](Self::with_attempt_timeout).
    #[must_use]
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// See [`with_retry_budget`](Self::with_retry_budget).
    #[must_use]
    pub fn retry_budget(&self) -> Duration {
        self.retry_budget
    }

    /// See [`with_max_in_flight`](Self::with_max_in_flight).
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// See [`with_verify_duplicates`](Self::with_verify_duplicates).
    #[must_use]
    pub fn verify_duplicates(&self) -> bool {
        self.verify_duplicates
    }

    /// See [`with_cloud_events`](Self::with_cloud_events).
    #[must_use]
    pub fn cloud_events(&self) -> bool {
        self.cloud_events
    }

    /// See [`with_api_prefix`](Self::with_api_prefix) and [`with_jetstream_domain`](Self::with_jetstream_domain).
    #[must_use]
    pub fn api_prefix(&self) -> ApiPrefix {
        self.api_prefix
    }
}
