//! A look at the durable and its stream.

use crate::{
    consumer::{receive::arrivals::Arrived, shared::Shared},
    nats::subject_filter::filters,
    topology::StreamInfo,
};
use async_nats::jetstream::{
    Context,
    consumer::{DeliverPolicy, pull},
    response::Response,
};
use std::time::Duration;

/// The state of the durable and of its stream, as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// The sequence of the oldest message, or that of the next one while there is none.
    pub(crate) first: u64,
    /// The last sequence of the stream, a moment before the durable was asked for and a moment after.
    pub(crate) last_before: u64,
    pub(crate) last: u64,
    /// The last sequence that the durable has delivered, and the number of its deliveries.
    pub(crate) delivered: u64,
    pub(crate) deliveries: u64,
    /// The ack floor: the sequence up to which everything is acknowledged. The server lifts it over removed messages.
    pub(crate) floor: u64,
    pub(crate) pending: u64,
    pub(crate) unanswered: usize,
    pub(crate) filters: Vec<String>,
    /// True if only the newest event of each subject was pending at the start: superseded events are not missing.
    pub(crate) is_last_per_subject: bool,
    /// The sequence at which the durable begins by its settings; 0 if they name none.
    pub(crate) begins_at: u64,
    /// The server's time, since 1970.
    pub(crate) time: Option<Duration>,
    /// The sequences of the oldest and the newest message and when they were stored, since 1970.
    pub(crate) ends: [Option<(u64, Duration)>; 2],
    /// The age at which the stream removes events; zero if it keeps them.
    pub(crate) max_age: Duration,
}

impl Look {
    /// Reads both from the server; `None` if it does not answer.
    pub(crate) async fn take(context: &Context, shared: &Shared) -> Option<Self> {
        let name = shared.name.as_str();
        let before = stream(context, shared).await?.state.held;
        let durable =
            context.get_consumer_from_stream::<pull::Config, _, _>(name, shared.stream).await.ok()?;
        let after = stream(context, shared).await?;
        if let Some(time) = after.now() {
            shared.clock.set(time);
        }
        let info = durable.cached_info();
        Some(Self {
            first: after.state.held.first_sequence,
            last_before: before.last_sequence,
            last: after.state.held.last_sequence,
            delivered: info.delivered.stream_sequence,
            deliveries: info.delivered.consumer_sequence,
            floor: info.ack_floor.stream_sequence,
            pending: info.num_pending,
            unanswered: info.num_ack_pending,
            filters: filters(&info.config),
            is_last_per_subject: info.config.deliver_policy == DeliverPolicy::LastPerSubject,
            begins_at: match info.config.deliver_policy {
                DeliverPolicy::ByStartSequence { start_sequence } => start_sequence,
                _ => 0,
            },
            time: after.now(),
            ends: after.state.ends(),
            max_age: after.max_age(),
        })
    }

    /// Returns whether everything that the stream has for the durable is acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending == 0 && self.unanswered == 0
    }

    /// Returns whether the durable has delivered beyond the end of its stream: the server delivers nothing more until
    /// the stream has grown to that point.
    pub(crate) fn is_ahead(&self) -> bool {
        self.delivered > self.last.max(self.begins_at.saturating_sub(1))
    }

    /// Returns the number of events, at least, that were pending at this look and no longer are `now`, although no
    /// process received them. `arrived` counts what had arrived here before the server was asked again, and until it
    /// had answered.
    pub(crate) fn missing(&self, now: &Self, arrived: [Arrived; 2]) -> u64 {
        let is_other = now.deliveries < self.deliveries || now.filters != self.filters;
        if is_other || self.is_last_per_subject {
            return 0;
        }
        let [before, after] = arrived;
        let elsewhere = (now.deliveries - self.deliveries).saturating_sub(before.all);
        let left = if now.delivered >= self.last { 0 } else { now.pending };
        self.pending.saturating_sub(after.awaited + elsewhere + left)
    }
}

async fn stream(context: &Context, shared: &Shared) -> Option<StreamInfo> {
    match StreamInfo::ask(context, shared.stream).await {
        Ok(Response::Ok(info)) => Some(info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten events of the stream are pending.
    fn look() -> Look {
        Look { last: 100, delivered: 50, deliveries: 70, pending: 10, ..Look::default() }
    }

    const NOTHING: [Arrived; 2] = [Arrived { all: 0, awaited: 0 }; 2];

    #[test]
    fn what_is_neither_delivered_nor_pending_any_more_is_missing() {
        let all_gone = Look { pending: 0, ..look() };
        assert_eq!(look().missing(&all_gone, NOTHING), 10);
        let some_left = Look { pending: 7, ..look() };
        assert_eq!(look().missing(&some_left, NOTHING), 3);
        // The server skipped to the end; what is pending now is new.
        let skipped = Look { delivered: 100, last: 105, pending: 5, ..look() };
        assert_eq!(look().missing(&skipped, NOTHING), 10);
    }

    #[test]
    fn what_was_delivered_here_or_elsewhere_is_not_missing() {
        let now = Look { delivered: 100, deliveries: 80, pending: 0, ..look() };
        for (all, awaited) in [(10, 10), (4, 4), (0, 0)] {
            let arrived = Arrived { all, awaited };
            assert_eq!(look().missing(&now, [arrived; 2]), 0, "{arrived:?}");
        }
        // Ten deliveries, all of them here, and six of them of newer events or repeated.
        let arrived = Arrived { all: 10, awaited: 4 };
        assert_eq!(look().missing(&now, [arrived; 2]), 6);
        // What arrives while the server is asked may or may not be among what it has counted.
        let late = Arrived { all: 11, awaited: 5 };
        assert_eq!(look().missing(&now, [arrived, late]), 5);
    }

    #[test]
    fn of_another_durable_nothing_is_missing() {
        let recreated = Look { deliveries: 0, pending: 0, ..look() };
        assert_eq!(look().missing(&recreated, NOTHING), 0);
        let superseded = Look { is_last_per_subject: true, ..look() };
        assert_eq!(superseded.missing(&Look { pending: 0, ..look() }, NOTHING), 0);
        let narrower = Look { filters: vec!["strat.dev.>".into()], pending: 0, ..look() };
        assert_eq!(look().missing(&narrower, NOTHING), 0);
    }

    #[test]
    fn a_durable_beyond_the_end_is_ahead_unless_it_begins_there() {
        assert!(!look().is_ahead());
        let ahead = Look { delivered: 101, ..look() };
        assert!(ahead.is_ahead());
        assert!(!Look { begins_at: 102, ..ahead.clone() }.is_ahead());
        assert!(Look { begins_at: 101, ..ahead }.is_ahead());
    }
}
