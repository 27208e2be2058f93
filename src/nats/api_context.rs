//! JetStream as a connection reaches it.

use crate::nats::{
    api::{ApiPrefix, ApiSubject, covers},
    permission_violation::PermissionViolation,
};
use async_nats::{
    Client,
    jetstream::{Context, context::ContextBuilder},
};
use std::{ops::Deref, time::Duration};

/// A context of async-nats, with the prefix of its requests, which the context itself does not tell.
///
/// The only place that makes a context: each one has a task of its own.
#[derive(Debug, Clone)]
pub(crate) struct ApiContext {
    context: Context,
    prefix: ApiPrefix,
}

impl ApiContext {
    pub(crate) fn new(client: Client, prefix: ApiPrefix) -> Self {
        let context = ContextBuilder::new().api_prefix(prefix.as_str()).build(client);
        Self { context, prefix }
    }

    /// Returns the same context with this time limit for requests and acknowledgements.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        let mut with_timeout = self.clone();
        with_timeout.context.set_timeout(timeout);
        with_timeout
    }

    pub(crate) fn prefix(&self) -> &ApiPrefix {
        &self.prefix
    }

    /// Returns the subject of a request.
    pub(crate) fn subject(&self, request: &ApiSubject) -> String {
        self.prefix.subject(request)
    }

    /// Returns whether the server has refused this request, or one below it. A server of the domain itself maps the
    /// subject to the usual one before it checks permissions, and names that one.
    pub(crate) fn is_refused(&self, request: &ApiSubject, violation: &PermissionViolation) -> bool {
        violation
            .published()
            .is_some_and(|to| covers(&self.subject(request), to) || covers(&request.clone().local(), to))
    }
}

impl Deref for ApiContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
