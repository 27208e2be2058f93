//! The requests made while a consumer is built; a permission violation is reported at once, as such.

use crate::{
    consumer::{ConsumeError, ConsumeErrorKind},
    nats::{
        api::ApiSubject, api_context::ApiContext, connection_watch::ConnectionWatch,
        permission_violation::PermissionViolation,
    },
};
use async_nats::Client;
use std::pin::pin;

/// The means to make requests for a consumer.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) context: ApiContext,
    pub(crate) client: Client,
    pub(crate) watch: ConnectionWatch,
}

impl ApiRequest {
    /// Makes a request to `subject`, or to one below it.
    pub(crate) async fn ask<T>(
        &self,
        subject: &ApiSubject,
        request: impl Future<Output = T>,
    ) -> Result<T, ConsumeError> {
        let inbox = self.client.new_inbox();
        let is_ours = |violation: &PermissionViolation| self.context.is_refused(subject, violation);
        let answer = self.watch.guard(self.watch.now(), &inbox, is_ours, pin!(request)).await;
        answer.map_err(|violation| denied(&violation))
    }
}

pub(crate) fn denied(violation: &PermissionViolation) -> ConsumeError {
    let message = format!("the user of this connection may not {violation}: allow it");
    ConsumeError::new(ConsumeErrorKind::PermissionDenied, message)
}
