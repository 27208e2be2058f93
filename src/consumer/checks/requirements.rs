//! The settings of a durable that the guarantees rest on, no matter who created it.

use crate::{
    consumer::{ConsumerOptions, Order, checks::difference::filters, handler::Handlers},
    contract::{event::EventType, subject::Feed},
    nats::config_diff::ConfigDifference,
};
use async_nats::jetstream::consumer::{AckPolicy, Config, PriorityPolicy, ReplayPolicy};
use std::{fmt::Debug, time::Duration};

/// The settings that a consumer relies on.
#[derive(Debug)]
pub(crate) struct Requirements {
    lease: Duration,
    order: Order,
    max_in_flight: i64,
    /// The number of replicas of the stream; zero where it was not checked.
    replicas: usize,
    /// The subjects of event types that have a handler, and of those that have none.
    handled: Vec<String>,
    unhandled: Vec<String>,
}

impl Requirements {
    pub(crate) fn new(feed: Feed, handlers: &Handlers, options: &ConsumerOptions) -> Self {
        let is_handled = |event_type: &&EventType| handlers.get(**event_type).is_some();
        let (handled, unhandled): (Vec<_>, Vec<_>) = EventType::ALL.iter().partition(is_handled);
        let subjects = |types: Vec<&EventType>| types.into_iter().map(|t| feed.filter(None, *t)).collect();
        Self {
            lease: options.lease(),
            order: options.order,
            max_in_flight: i64::try_from(options.max_in_flight).unwrap_or(i64::MAX),
            replicas: 0,
            handled: subjects(handled),
            unhandled: subjects(unhandled),
        }
    }

    /// The durable must have as many copies as its stream has.
    pub(crate) fn with_replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }

    /// The first thing about the durable that a guarantee does not hold with.
    pub(crate) fn violated_by(&self, found: &Config) -> Option<ConfigDifference> {
        let must = |holds: bool, field, found: &dyn Debug, wanted: String| {
            (!holds).then(|| ConfigDifference::violated(field, found, wanted))
        };
        let policy = match self.order {
            Order::Relaxed => PriorityPolicy::None,
            Order::PerUnit => PriorityPolicy::PinnedClient,
        };
        let gathers = self.order == Order::Relaxed || found.max_ack_pending <= self.max_in_flight;
        let is_pull = found.deliver_subject.is_none();
        let acks = found.ack_policy == AckPolicy::Explicit;
        let waits = found.ack_wait >= self.lease;
        // Zero is as many as the stream has.
        let has_copies = found.num_replicas == 0 || found.num_replicas >= self.replicas;
        let filters = filters(found);
        [
            must(is_pull, "deliver subject", &found.deliver_subject, "none".into()),
            must(acks, "ack policy", &found.ack_policy, "Explicit".into()),
            // The server would strand a message that it has delivered so often.
            must(found.max_deliver < 0, "max deliver", &found.max_deliver, "-1".into()),
            // It would replace the ack wait by its first entry.
            must(found.backoff.is_empty(), "backoff", &found.backoff, "none".into()),
            must(waits, "ack wait", &found.ack_wait, format!("at least the lease, {:?}", self.lease)),
            must(!found.headers_only, "headers only", &found.headers_only, "false".into()),
            // The durable would be removed, and with it the place that it had come to.
            must(
                found.inactive_threshold.is_zero(),
                "inactive threshold",
                &found.inactive_threshold,
                "none".into(),
            ),
            // It would be lost with the one server that has it, or when all of them stop.
            must(!found.memory_storage, "memory storage", &found.memory_storage, "false".into()),
            must(
                has_copies,
                "replicas",
                &found.num_replicas,
                format!("as many as the stream, {}", self.replicas),
            ),
            // Events would come with the pauses between them, days after they were stored.
            must(
                found.replay_policy == ReplayPolicy::Instant,
                "replay policy",
                &found.replay_policy,
                "Instant".into(),
            ),
            // Requests for more would be refused.
            must(found.max_batch == 0, "max batch", &found.max_batch, "none".into()),
            must(found.max_expires.is_zero(), "max expires", &found.max_expires, "none".into()),
            must(
                found.priority_policy == policy,
                "priority policy",
                &found.priority_policy,
                format!("{policy:?}"),
            ),
            // The process that takes over must have room for all that is unanswered.
            must(
                gathers,
                "max ack pending",
                &found.max_ack_pending,
                format!("at most {}", self.max_in_flight),
            ),
            must(
                self.handles(&filters),
                "filters",
                &filters,
                format!("only events that have a handler, {:?}", self.handled),
            ),
        ]
        .into_iter()
        .flatten()
        .next()
    }

    /// Returns whether everything that passes the filters has a handler: anything else would be dead-lettered.
    fn handles(&self, filters: &[String]) -> bool {
        let is_handled = |filter: &String| {
            let meets = |subject: &String| overlap(filter, subject);
            self.handled.iter().any(meets) && !self.unhandled.iter().any(meets)
        };
        !filters.is_empty() && filters.iter().all(is_handled)
    }
}

/// Returns whether a subject can match both patterns.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delivery, UnitDeprecated, UnitPublished};

    fn needs() -> Requirements {
        let mut handlers = Handlers::default();
        handlers.add(|_: Delivery<UnitPublished>| async { Ok(()) }).unwrap();
        handlers.add(|_: Delivery<UnitDeprecated>| async { Ok(()) }).unwrap();
        Requirements::new(Feed::Choco, &handlers, &ConsumerOptions::default())
    }

    #[test]
    fn fewer_copies_than_the_stream_has_break_a_guarantee() {
        let found = |num_replicas| Config {
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(45),
            max_deliver: -1,
            filter_subject: "choco.strat.*.unit.published".into(),
            num_replicas,
            ..Config::default()
        };
        let broken = |stream, durable| needs().with_replicas(stream).violated_by(&found(durable));
        for (stream, durable) in [(0, 1), (1, 1), (3, 0), (3, 3)] {
            assert_eq!(broken(stream, durable), None, "{stream} {durable}");
        }
        assert_eq!(broken(3, 1).unwrap().to_string(), "replicas 1, wanted as many as the stream, 3");
    }

    #[test]
    fn filters_may_be_narrower_than_the_handlers_but_not_wider() {
        for (filters, holds) in [
            (vec!["choco.strat.*.unit.published"], true),
            (vec!["choco.strat.dev.unit.published", "choco.strat.core.unit.deprecated"], true),
            (vec!["choco.strat.*.unit.published", "choco.strat.*.unit.tampered"], false),
            (vec!["choco.strat.dev.unit.>"], false),
            (vec!["choco.strat.>"], false),
            (vec!["choco.strat.*.unit"], false),
            (vec!["other.>"], false),
            (vec![], false),
        ] {
            let named: Vec<_> = filters.iter().map(ToString::to_string).collect();
            assert_eq!(needs().handles(&named), holds, "{filters:?}");
        }
    }
}
