//! A publish whose answer from JetStream is not lost when other subscribers answer as well.

use crate::publish::{
    Publisher,
    attempt::{answer::Answer, failure::Failure},
};
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

impl Publisher {
    /// Publishes a message and returns the first answer that `is_one`.
    ///
    /// Any subscriber of the subject may answer as well, and sooner than JetStream, which waits for its disk and its
    /// replicas. So this publish has an inbox of its own, in which all answers arrive; the inbox that async-nats shares
    /// among requests takes only the first answer of each.
    pub(crate) async fn ask(
        &self,
        (subject, headers, payload): (Subject, HeaderMap, Bytes),
        until: Instant,
        is_one: fn(&Answer<'_>) -> bool,
    ) -> Result<Message, Failure> {
        let answer = async {
            let client = self.context.client();
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await.map_err(Failure::disconnected)?;
            client.publish_with_reply_and_headers(subject, inbox, headers, payload).await?;
            while let Some(answer) = answers.next().await {
                if is_one(&Answer::read(&answer)) {
                    return Ok(answer);
                }
            }
            // The connection is closed for good, which the next attempt reports.
            Err(Failure::unanswered())
        };
        timeout_at(until, answer).await.unwrap_or_else(|_elapsed| Err(Failure::unanswered()))
    }
}
