//! Strict order across processes: whoever takes over starts nothing until all that is unanswered has come to it. Neither
//! does who misses a delivery that was lost on its way.
//!
//! An event that another process left unanswered comes back after the ack wait, while its successors, never delivered
//! before, arrive at once. The durable of a strictly ordered consumer lets no more be unanswered than one process has
//! room for, so that everything can gather here; then it is sorted, and begun.

use crate::{
    consumer::{DurableConsumer, shared::Shared},
    nats::api::ApiSubject,
};
use async_nats::jetstream::consumer::pull;
use std::time::Duration;
use tokio::time::timeout;

/// The one priority group of the durable; its name is free.
pub(crate) const GROUP: &str = "stratt";

const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Whether the server knows of nothing unanswered beyond what is held here.
pub(crate) async fn is_all_here(consumer: &DurableConsumer) -> bool {
    let before = consumer.shared.holds.certain();
    let (stream, name) = (consumer.shared.stream, consumer.shared.name.as_str());
    let info = consumer.context.get_consumer_from_stream::<pull::Config, _, _>(name, stream);
    let Ok(Ok(found)) = timeout(ANSWER_WITHIN, info).await else { return false };
    // What is held before and after was unanswered when the server counted, whenever that was. What arrived meanwhile may
    // have been delivered later, and what was answered meanwhile before.
    let after = consumer.shared.holds.certain();
    found.cached_info().num_ack_pending <= before.intersection(&after).count()
}

/// Lets another process take over at once, and not when the server misses this one, which is the pinned client.
pub(crate) async fn step_down(consumer: &DurableConsumer) {
    let Shared { stream, name, .. } = &*consumer.shared;
    let subject = ApiSubject::durable_unpin(stream, name.as_str()).request();
    let group = serde_json::json!({ "group": GROUP });
    let request = consumer.context.request::<_, _, serde_json::Value>(subject, &group);
    if !matches!(timeout(ANSWER_WITHIN, request).await, Ok(Ok(_))) {
        tracing::debug!("another process takes over when the server misses this one");
    }
}
