//! Publishing one message and hearing what JetStream answers, whoever else does.

use crate::publish::{Publisher, answer::Answer, failure::Failure};
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

impl Publisher {
    /// Publishes a message and returns the first answer that `is_one`.
    ///
    /// Whoever listens on the subject may answer as well, and sooner than JetStream, which waits for its disk and its
    /// replicas. So the answers have an inbox of their own here, in which all of them arrive; the one that async-nats
    /// shares among requests takes the first of each.
    pub(super) async fn ask(
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
            // The connection is closed for good, which the next attempt finds.
            Err(Failure::unanswered())
        };
        timeout_at(until, answer).await.unwrap_or_else(|_elapsed| Err(Failure::unanswered()))
    }
}
