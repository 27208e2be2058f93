//! The way of one event.

use crate::{
    failure::{Failure, chain, complain},
    output::Output,
    text::time,
};
use clap::Args;
use std::sync::Arc;
use stratt_event_bridge::{
    EventBridge, IdempotencyKey,
    dedupe::{BucketName, DedupeStore, KvStoreOptions},
};
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub(crate) struct ExplainCommand {
    /// The idempotency key
    key: IdempotencyKey,
    /// Search events since this time only (RFC 3339); all are read by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<OffsetDateTime>,
    /// The bucket of the dedupe store, if it is one of JetStream
    #[arg(long, default_value = "STRATT_DEDUPE")]
    bucket: BucketName,
}

/// Shows the way of an event, and returns whether anything is known of it.
pub(crate) async fn explain(
    bridge: &EventBridge,
    command: ExplainCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    let mut question = bridge.explain(command.key);
    if let Some(since) = command.since {
        question = question.since(since);
    }
    if let Some(store) = store(bridge, command.bucket).await {
        question = question.store(store);
    }
    let explanation = question.ask().await.map_err(Failure::no_broker)?;
    if explanation.is_empty() {
        return Err(Failure::new(format!("no event with the key {} is stored", command.key)));
    }
    if output.is_json() {
        output.json(&explanation)?;
    } else {
        for line in explanation.to_string().lines() {
            output.line(line)?;
        }
    }
    Ok(true)
}

/// Opens the dedupe store; without it, the slots are not known.
async fn store(bridge: &EventBridge, bucket: BucketName) -> Option<Arc<dyn DedupeStore>> {
    match bridge.open_kv_store(KvStoreOptions::default().with_bucket(bucket)).await {
        Ok(store) => Some(Arc::new(store)),
        Err(error) => {
            complain(&format!(
                "slots are not known, since the dedupe store is none of JetStream, or in another bucket, or: {}",
                chain(&error)
            ));
            None
        }
    }
}
