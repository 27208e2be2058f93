//! The three streams: their settings, their creation and their checks.

mod advisories;
mod difference;
mod durable_source;
mod error;
mod first_sequence;
mod forwarding;
mod manifest;
mod problem;
mod provision;
mod settings;
pub(crate) mod status;
mod stored_twice;
mod stream_info;
mod two_accounts;

pub(crate) use advisories::{advisory_subjects, provision_advisories};
pub use difference::Difference;
pub(crate) use durable_source::DURABLE_SOURCE;
pub use error::{TopologyError, TopologyErrorKind};
use forwarding::Forwarded;
pub(crate) use forwarding::{Access, Memory, forwarded_as, heal};
pub use forwarding::{Forwarding, ForwardingOptions, ForwardingWatch};
pub(crate) use problem::SMALLEST_DEAD_LETTER;
pub(crate) use provision::check_version;
pub use settings::{Storage, StreamSettings};
pub(crate) use stream_info::StreamInfo;
pub use two_accounts::TwoAccounts;

use crate::contract::subject::Feed;

use async_nats::jetstream::stream;
use std::time::Duration;

/// The stream of events, `strat.>`, and of redriven events, `stratt.redrive.>`.
pub const EVENT_STREAM: &str = Feed::Strat.stream();
/// The stream that the broker forwards both to, as `choco.strat.>` and `choco.redrive.>`.
pub const CHOCO_STREAM: &str = Feed::Choco.stream();
/// The stream of dead letters, `stratt.dlq.>`.
pub const DEAD_LETTER_STREAM: &str = "STRATT_DLQ";
/// The stream of the server's advisories about events that it gave up, for a [`Sweeper`](crate::dead_letter::Sweeper).
pub const ADVISORY_STREAM: &str = "STRATT_ADVISORIES";

/// The subjects that the broker forwards to Choco, each with what it becomes there.
const FORWARDED: [(&str, &str); 2] = [("strat.>", "choco.strat.>"), ("stratt.redrive.>", "choco.redrive.>")];

/// The three streams: events, what the broker forwards of them to Choco, and dead letters.
///
/// ```
/// use std::time::Duration;
/// use stratt_event_bridge::topology::{StreamSettings, Topology};
///
/// let topology = Topology::default()
///     .with_replicas(3)
///     .with_choco(StreamSettings::default().with_max_age(Duration::from_secs(7 * 24 * 60 * 60)));
/// assert_eq!(topology.events().replicas(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    events: StreamSettings,
    choco: StreamSettings,
    dead_letters: StreamSettings,
    batches: bool,
    first_sequence: Option<u64>,
    durable_source: bool,
    part: Part,
}

/// The streams that are in the account of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Part {
    #[default]
    All,
    WithoutChoco,
    OnlyChoco(TwoAccounts),
}

impl Topology {
    /// Sets how many servers keep a copy of each stream.
    #[must_use]
    pub fn with_replicas(self, replicas: usize) -> Self {
        self.with_each(|settings| settings.with_replicas(replicas))
    }

    /// Sets where all three streams keep their messages.
    #[must_use]
    pub fn with_storage(self, storage: Storage) -> Self {
        self.with_each(|settings| settings.with_storage(storage))
    }

    /// Sets how long all three streams keep their messages.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        self.with_each(|settings| settings.with_max_age(max_age))
    }

    /// Sets the settings of the stream of events.
    #[must_use]
    pub fn with_events(mut self, settings: StreamSettings) -> Self {
        self.events = settings;
        self
    }

    /// Sets the settings of the stream that the broker forwards to.
    #[must_use]
    pub fn with_choco(mut self, settings: StreamSettings) -> Self {
        self.choco = settings;
        self
    }

    /// Sets the settings of the stream of dead letters. It must keep them at least as long as the other two keep
    /// events.
    #[must_use]
    pub fn with_dead_letters(mut self, settings: StreamSettings) -> Self {
        self.dead_letters = settings;
        self
    }

    /// Leaves out the stream of Choco, which has an [account of its own](TwoAccounts).
    #[must_use]
    pub fn without_choco(mut self) -> Self {
        self.part = Part::WithoutChoco;
        self
    }

    /// Leaves out all but the stream of Choco, for a connection to the [account of Choco](TwoAccounts).
    ///
    /// The server silently accepts a source stream that it cannot reach: check
    /// [`forwarding`](crate::EventBridge::forwarding) afterwards.
    #[must_use]
    pub fn only_choco(mut self, accounts: &TwoAccounts) -> Self {
        self.part = Part::OnlyChoco(accounts.clone());
        self
    }

    /// Sets whether the stream of events takes [batches](crate::EventBridge::publish_batch), where the server
    /// supports them (2.12 or newer). Unless set, the stream stays as it is.
    #[must_use]
    pub fn with_batches(mut self, batches: bool) -> Self {
        self.batches = batches;
        self
    }

    /// Sets whether the broker forwards to Choco from a durable of the stream of events, for nats-server 2.15 or newer.
    /// Not by default.
    ///
    /// It recovers from the loss of all servers within some 11 s instead of 45, and is as fast otherwise. But one was
    /// seen to stall without a word under load, so hold a [`ForwardingWatch`] as well. Switching it on and off takes
    /// effect on the streams in place, and repeats no event. Its durable, `CHOCO_STRATT`, must not be removed.
    #[must_use]
    pub fn with_durable_source(mut self, durable: bool) -> Self {
        self.durable_source = durable;
        self
    }

    /// Sets the sequence of the first event, for when the stream of events has to be created.
    ///
    /// Needed only where Choco has an [account of its own](TwoAccounts), the stream of events was lost and
    /// `CHOCO_STRATT` was not: one more than the sequence in the header `Nats-Stream-Source` of the newest message
    /// there. In one account, provisioning reads it. With a lower one, nats-server up to 2.14 forwards no event until
    /// the sequence of the lost stream is reached.
    #[must_use]
    pub fn with_first_sequence(mut self, sequence: u64) -> Self {
        self.first_sequence = Some(sequence);
        self
    }

    /// Returns the settings of the stream of events.
    #[must_use]
    pub fn events(&self) -> &StreamSettings {
        &self.events
    }

    /// Returns the settings of the stream that the broker forwards to.
    #[must_use]
    pub fn choco(&self) -> &StreamSettings {
        &self.choco
    }

    /// Returns the settings of the stream of dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &StreamSettings {
        &self.dead_letters
    }

    fn with_each(self, change: impl Fn(StreamSettings) -> StreamSettings) -> Self {
        Self {
            events: change(self.events),
            choco: change(self.choco),
            dead_letters: change(self.dead_letters),
            batches: self.batches,
            first_sequence: self.first_sequence,
            durable_source: self.durable_source,
            part: self.part,
        }
    }

    /// Returns the settings of the stream that is forwarded to, with its default window unless one is set.
    fn forwarded(&self) -> StreamSettings {
        self.choco.forwarded_from(self.events.window())
    }

    /// Returns the streams as they should be in this account, in the order in which they depend on each other.
    fn streams(&self, server_knows_batches: bool) -> Vec<stream::Config> {
        let forwarded = stream::Source {
            name: EVENT_STREAM.into(),
            subject_transforms: FORWARDED
                .map(|(source, destination)| stream::SubjectTransform {
                    source: source.into(),
                    destination: destination.into(),
                })
                .into(),
            external: match &self.part {
                Part::OnlyChoco(accounts) => Some(accounts.external()),
                Part::All | Part::WithoutChoco => None,
            },
            consumer: self.durable_source.then(durable_source::durable_source),
            ..stream::Source::default()
        };
        let events = self.events.config(EVENT_STREAM, &FORWARDED.map(|(subject, _)| subject), None);
        let events = stream::Config {
            allow_atomic_publish: self.batches && server_knows_batches,
            first_sequence: self.first_sequence,
            ..events
        };
        // No subjects of its own: only the broker writes it.
        let choco = self.forwarded().config(CHOCO_STREAM, &[], Some(vec![forwarded]));
        let dead_letters = self.dead_letters.config(DEAD_LETTER_STREAM, &["stratt.dlq.>"], None);
        match self.part {
            Part::All => vec![events, choco, dead_letters],
            Part::WithoutChoco => vec![events, dead_letters],
            Part::OnlyChoco(_) => vec![choco],
        }
    }

    /// Checks that a publish is not repeated for longer than the broker recognises a repeat.
    pub(crate) fn check_budget(&self, retry_budget: Duration) -> Result<(), TopologyError> {
        let window = self.events().window().min(self.dead_letters().window());
        if retry_budget < window {
            return Ok(());
        }
        let message = format!(
            "retry budget {retry_budget:?} is not below the duplicate window {window:?}: shorten the one or lengthen \
             the other"
        );
        Err(TopologyError::new(TopologyErrorKind::InvalidSettings, message))
    }
}
