//! Asking the server while a consumer is built: a refusal is told at once, as what it is.

use crate::{
    consumer::{ConsumeError, ConsumeErrorKind},
    nats::connection_watch::{ConnectionWatch, Refusal},
};
use async_nats::{Client, jetstream::Context};

/// Asks on behalf of a consumer.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) context: Context,
    pub(crate) client: Client,
    pub(crate) watch: ConnectionWatch,
}

impl ApiRequest {
    /// Makes a request to `subject`, or to one below it.
    pub(crate) async fn ask<T>(
        &self,
        subject: &str,
        request: impl Future<Output = T>,
    ) -> Result<T, ConsumeError> {
        let since = self.watch.now();
        let is_it = |refusal: &Refusal| {
            let Refusal::Publish(refused) = refusal else { return false };
            refused.strip_prefix(subject).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let inbox = self.client.new_inbox();
        tokio::select! {
            biased;
            answer = request => Ok(answer),
            refusal = self.watch.refusal(since, is_it) => Err(denied(&refusal)),
            refusal = self.watch.inbox_refusal(&inbox) => Err(denied(&refusal)),
        }
    }
}

pub(crate) fn denied(refusal: &Refusal) -> ConsumeError {
    let message = format!("the user of this connection may not {refusal}: allow it");
    ConsumeError::new(ConsumeErrorKind::PermissionDenied, message)
}
