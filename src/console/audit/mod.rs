//! The audit stream: who did what and when, written before it is done, and its outcome afterwards.

mod entry;
mod error;
mod provision;

pub(super) use entry::{Action, Entry, Phase, Target};
pub use error::AuditError;
pub use provision::provision_audit;

use crate::{
    EventBridge,
    nats::{api_context::ApiContext, batch_get::Messages},
    report::report,
    topology::StreamInfo,
};
use async_nats::jetstream::message::PublishMessage;
use futures::TryStreamExt;
use std::{future::ready, time::Duration};
use tokio::time::timeout;

/// The name of the audit stream.
pub const AUDIT_STREAM: &str = "STRATT_AUDIT";
/// The subjects of the audit stream.
pub const AUDIT_SUBJECT: &str = "stratt.audit.>";

/// The time limit for an entry to be stored, and for a read to begin.
const WITHIN: Duration = Duration::from_secs(5);

/// The audit stream, to write and to read.
#[derive(Debug, Clone)]
pub(super) struct Audit {
    context: ApiContext,
}

impl Audit {
    pub(super) fn new(bridge: &EventBridge) -> Self {
        Self { context: bridge.link().context.clone() }
    }

    /// Stores an entry, and returns once the stream has it.
    pub(super) async fn write(&self, entry: &Entry) -> Result<(), AuditError> {
        let payload = serde_json::to_vec(entry).map_err(AuditError::not_stored)?;
        // Another stream that happens to have the subject is no audit stream.
        let message = PublishMessage::build().payload(payload.into()).expected_stream(AUDIT_STREAM);
        let message = message.message_id(entry.message_id());
        let stored = async { self.context.send_publish(entry.subject(), message).await?.await };
        let stored = timeout(WITHIN, stored).await.map_err(AuditError::not_stored)?;
        stored.map(drop).map_err(AuditError::not_stored)
    }

    /// Stores the outcome of what was done. That it was done cannot be undone: a failure is logged.
    pub(super) async fn write_outcome(&self, entry: &Entry) {
        if let Err(error) = self.write(entry).await {
            let error = report(&error);
            tracing::error!(id = %entry.id, who = entry.who, %error, "outcome of an action is not in the audit stream");
        }
    }

    /// Returns the newest entries about `target`, or about everything; the newest first.
    pub(super) async fn newest(
        &self,
        target: Option<&Target>,
        most: usize,
    ) -> Result<Vec<Entry>, AuditError> {
        let filter = target.map_or_else(|| AUDIT_SUBJECT.to_owned(), Target::subject);
        let last = timeout(WITHIN, StreamInfo::last_sequence(&self.context, AUDIT_STREAM)).await;
        let last = last.map_err(AuditError::not_read)?.map_err(AuditError::not_read)?;
        // Of one thing there are few, wherever they are.
        let first = if target.is_some() { 1 } else { last.saturating_sub(as_u64(most)).saturating_add(1) };
        let found = Messages::of(&self.context, AUDIT_STREAM, filter, first..=last);
        let entries = found.try_filter_map(|found| ready(Ok(serde_json::from_slice(&found.payload).ok())));
        let mut entries: Vec<Entry> = entries.try_collect().await.map_err(AuditError::not_read)?;
        entries.reverse();
        entries.truncate(most);
        Ok(entries)
    }
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
