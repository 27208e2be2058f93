//! Strict order across processes: after a fail-over, a lost delivery or an event that was given back, no handler starts
//! until every unanswered message has been redelivered here.
//!
//! An event that another process left unanswered comes back after the ack wait, while its successors, never delivered
//! before, arrive at once. The durable of a strictly ordered consumer allows no more unanswered messages than one
//! process has room for, so all of them can wait here; then they are sorted and begun.

use crate::{
    consumer::{DurableConsumer, shared::Shared},
    nats::api::ApiSubject,
};
use async_nats::jetstream::consumer::pull;
use std::time::Duration;
use tokio::time::timeout;

/// The one priority group of the durable; its name is free.
pub(crate) const PRIORITY_GROUP: &str = "stratt";

const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Returns whether every message that the server counts as unanswered is in progress here.
pub(crate) async fn is_caught_up(consumer: &DurableConsumer) -> bool {
    let before = consumer.shared.in_progress.certain();
    let (stream, name) = (consumer.shared.stream, consumer.shared.name.as_str());
    let info = consumer.context.get_consumer_from_stream::<pull::Config, _, _>(name, stream);
    let Ok(Ok(found)) = timeout(ANSWER_WITHIN, info).await else { return false };
    // What is in progress both before and after was unanswered when the server counted. What arrived meanwhile may have
    // been delivered after the count, and what was answered meanwhile before it.
    let after = consumer.shared.in_progress.certain();
    found.cached_info().num_ack_pending <= before.intersection(&after).count()
}

/// Unpins this process, the pinned client, so that another one takes over at once, and not only when the server misses
/// this one.
pub(crate) async fn unpin(consumer: &DurableConsumer) {
    let Shared { stream, name, .. } = &*consumer.shared;
    let subject = ApiSubject::durable_unpin(stream, name.as_str()).request();
    let group = serde_json::json!({ "group": PRIORITY_GROUP });
    let request = consumer.context.request::<_, _, serde_json::Value>(subject, &group);
    if !matches!(timeout(ANSWER_WITHIN, request).await, Ok(Ok(_))) {
        tracing::debug!("unpinning failed: another process takes over once the server misses this one");
    }
}
