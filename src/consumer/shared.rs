//! The state and settings that all parts of a running consumer share.

use crate::{
    consumer::{
        ConsumerOptions,
        checks::overflow::Silence,
        delivery::{company::Company, decide::Policy, in_progress::InProgressSet, postponed::Postponed},
        handler::Handlers,
        receive::arrivals::Arrivals,
        state::ConsumerState,
    },
    contract::{consumer_name::ConsumerName, subject::Feed},
    dead_letter::Parking,
    dedupe::DedupeStore,
    nats::server_clock::ServerClock,
    publish::Publisher,
    telemetry::log_limit::LogLimit,
};
use async_nats::Client;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// The state and settings that all deliveries of a consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: ConsumerName,
    pub(crate) feed: Feed,
    pub(crate) stream: &'static str,
    pub(crate) client: Client,
    pub(crate) publisher: Publisher,
    pub(crate) store: Arc<dyn DedupeStore>,
    pub(crate) handlers: Handlers,
    pub(crate) options: ConsumerOptions,
    pub(crate) policy: Policy,
    pub(crate) in_progress: Arc<InProgressSet>,
    /// All that holds a claim, of every consumer of the bridge.
    pub(crate) company: Arc<Company>,
    /// The decisions to dead-letter an event whose dead letter could not be stored yet.
    pub(crate) postponed: Postponed,
    /// The dead letters that events are parked behind, if they are.
    pub(crate) parking: Option<Arc<Parking>>,
    /// The age at which the stream removes events, if that is limited and known.
    pub(crate) max_age: Option<Duration>,
    pub(crate) clock: ServerClock,
    pub(crate) arrivals: Arrivals,
    pub(crate) silence: Silence,
    pub(crate) state: Arc<ConsumerState>,
    /// The limit of log lines that repeat for each event or each retry.
    pub(crate) lines: Arc<LogLimit>,
    /// Shutdown was asked for: no handler starts.
    pub(crate) drain: CancellationToken,
    /// The grace is over: running handlers are dropped.
    pub(crate) cancel: CancellationToken,
}
