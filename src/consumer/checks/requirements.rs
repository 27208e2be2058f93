//! The settings of a durable that the guarantees depend on, no matter who created it.

use crate::{
    consumer::{ConsumerOptions, Order, handler::Handlers},
    contract::{consumer_name::ConsumerName, event::EventType, subject::Feed},
    nats::{
        config_diff::ConfigDifference,
        subject_filter::{filters, overlap},
    },
};
use async_nats::jetstream::consumer::{AckPolicy, Config, PriorityPolicy, ReplayPolicy};
use std::{fmt::Debug, time::Duration};

/// The settings that a consumer relies on.
#[derive(Debug)]
pub(crate) struct Requirements {
    lease: Duration,
    order: Order,
    max_in_flight: i64,
    /// The number of replicas of the stream; zero if it was not checked.
    replicas: usize,
    /// The subjects of event types that have a handler, and of those that have none.
    handled: Vec<String>,
    unhandled: Vec<String>,
    /// The subjects of what is redriven for other consumers.
    others: String,
}

impl Requirements {
    pub(crate) fn new(
        feed: Feed,
        name: &ConsumerName,
        handlers: &Handlers,
        options: &ConsumerOptions,
    ) -> Self {
        let is_handled = |event_type: &&EventType| handlers.get(**event_type).is_some();
        let (handled, unhandled): (Vec<_>, Vec<_>) = EventType::ALL.iter().partition(is_handled);
        let published = |event_type: &EventType| feed.filter(None, *event_type);
        let redriven = |event_type: &EventType| feed.redrive_filter(name, None, *event_type);
        let subjects =
            |types: Vec<&EventType>| types.into_iter().flat_map(|t| [published(t), redriven(t)]).collect();
        Self {
            lease: options.lease(),
            order: options.order,
            max_in_flight: i64::try_from(options.max_in_flight).unwrap_or(i64::MAX),
            replicas: 0,
            handled: subjects(handled),
            unhandled: subjects(unhandled),
            // No name has such a token, so only a wildcard matches it.
            others: format!("{}?.>", feed.redrive_prefix()),
        }
    }

    /// Requires as many replicas as the stream has.
    pub(crate) fn with_replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }

    /// Returns the first setting of the durable that violates a requirement.
    pub(crate) fn violated_by(&self, found: &Config) -> Option<ConfigDifference> {
        let must = |holds: bool, field, found: &dyn Debug, wanted: String| {
            (!holds).then(|| ConfigDifference::violated(field, found, wanted))
        };
        let policy = match self.order {
            Order::Relaxed => PriorityPolicy::None,
            Order::PerUnit => PriorityPolicy::PinnedClient,
        };
        let has_room = self.order == Order::Relaxed || found.max_ack_pending <= self.max_in_flight;
        let is_pull = found.deliver_subject.is_none();
        let acks = found.ack_policy == AckPolicy::Explicit;
        let waits = found.ack_wait >= self.lease;
        // Zero means as many as the stream has.
        let has_replicas = found.num_replicas == 0 || found.num_replicas >= self.replicas;
        let filters = filters(found);
        [
            must(is_pull, "deliver subject", &found.deliver_subject, "none".into()),
            must(acks, "ack policy", &found.ack_policy, "Explicit".into()),
            // The server would strand a message after so many deliveries.
            must(found.max_deliver < 0, "max deliver", &found.max_deliver, "-1".into()),
            // Its first entry would replace the ack wait.
            must(found.backoff.is_empty(), "backoff", &found.backoff, "none".into()),
            must(waits, "ack wait", &found.ack_wait, format!("at least the lease, {:?}", self.lease)),
            must(!found.headers_only, "headers only", &found.headers_only, "false".into()),
            // The durable would be removed, and its position with it.
            must(
                found.inactive_threshold.is_zero(),
                "inactive threshold",
                &found.inactive_threshold,
                "none".into(),
            ),
            // The durable would be lost with the one server that has it, or when all of them stop.
            must(!found.memory_storage, "memory storage", &found.memory_storage, "false".into()),
            must(
                has_replicas,
                "replicas",
                &found.num_replicas,
                format!("as many as the stream, {}", self.replicas),
            ),
            // Old events would be delivered with the same pauses between them as when they were stored.
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
            // After a fail-over, the next process must have room for everything that is unanswered.
            must(
                has_room,
                "max ack pending",
                &found.max_ack_pending,
                format!("at most {}", self.max_in_flight),
            ),
            must(
                self.handles(&filters),
                "filters",
                &filters,
                format!(
                    "only events that have a handler, and are not redriven for others, {:?}",
                    self.handled
                ),
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
            let is_for_others = meets(&self.others) || self.unhandled.iter().any(meets);
            self.handled.iter().any(meets) && !is_for_others
        };
        !filters.is_empty() && filters.iter().all(is_handled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delivery, UnitDeprecated, UnitPublished};

    fn requirements() -> Requirements {
        let mut handlers = Handlers::default();
        handlers.add(|_: Delivery<UnitPublished>| async { Ok(()) }).unwrap();
        handlers.add(|_: Delivery<UnitDeprecated>| async { Ok(()) }).unwrap();
        Requirements::new(Feed::Choco, &"c".parse().unwrap(), &handlers, &ConsumerOptions::default())
    }

    #[test]
    fn fewer_replicas_than_the_stream_has_are_a_violation() {
        let found = |num_replicas| Config {
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(45),
            max_deliver: -1,
            filter_subject: "choco.strat.*.unit.published".into(),
            num_replicas,
            ..Config::default()
        };
        let violated = |stream, durable| requirements().with_replicas(stream).violated_by(&found(durable));
        for (stream, durable) in [(0, 1), (1, 1), (3, 0), (3, 3)] {
            assert_eq!(violated(stream, durable), None, "{stream} {durable}");
        }
        assert_eq!(violated(3, 1).unwrap().to_string(), "replicas 1, wanted as many as the stream, 3");
    }

    #[test]
    fn filters_may_be_narrower_than_the_handlers_but_not_wider() {
        for (filters, holds) in [
            (vec!["choco.strat.*.unit.published"], true),
            (vec!["choco.strat.dev.unit.published", "choco.strat.core.unit.deprecated"], true),
            (vec!["choco.strat.*.unit.published", "choco.strat.*.unit.tampered"], false),
            (vec!["choco.strat.dev.unit.>"], false),
            (vec!["choco.strat.>"], false),
            (vec!["choco.strat.*.unit.published", "choco.redrive.c.*.unit.published"], true),
            (vec!["choco.redrive.c.*.unit.tampered"], false),
            (vec!["choco.redrive.d.*.unit.published"], false),
            (vec!["choco.redrive.*.*.unit.published"], false),
            (vec!["choco.strat.*.unit"], false),
            (vec!["other.>"], false),
            (vec![], false),
        ] {
            let named: Vec<_> = filters.iter().map(ToString::to_string).collect();
            assert_eq!(requirements().handles(&named), holds, "{filters:?}");
        }
    }
}
