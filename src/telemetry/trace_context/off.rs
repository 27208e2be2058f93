//! Without OpenTelemetry: nothing is carried.

use async_nats::HeaderMap;
use tracing::Span;

#[derive(Debug, Clone)]
pub(crate) struct TraceContext;

pub(crate) fn inject(_headers: &mut HeaderMap) {}

pub(crate) fn extract(_headers: &HeaderMap) -> TraceContext {
    TraceContext
}

#[expect(clippy::unused_self, reason = "the same calls as with the feature")]
impl TraceContext {
    pub(crate) fn becomes_parent_of(self, _span: &Span) {}

    pub(crate) fn joins(self, _span: &Span) {}
}
