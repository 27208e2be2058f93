//! Between the headers of a message and the spans of `tracing-opentelemetry`.

use crate::telemetry::trace_context::{
    headers::{TRACEPARENT, TRACESTATE},
    w3c,
};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The trace that the headers of a message name, if it is valid.
#[derive(Debug, Clone)]
pub(crate) struct TraceContext(Option<SpanContext>);

/// Writes the current span into `headers`, unless they name one already: that one is older, and names the origin.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let Some(current) = current() else { return };
    if values(headers, TRACEPARENT).next().is_some() {
        return;
    }
    headers.insert(HeaderName::from_static(TRACEPARENT), w3c::traceparent(&current));
    let state = w3c::tracestate(current.trace_state());
    if let Some(state) = state.and_then(|state| state.parse::<HeaderValue>().ok()) {
        headers.insert(HeaderName::from_static(TRACESTATE), state);
    }
}

/// Reads the trace that `headers` name. It costs no more than looking at some hundred bytes, however large they are,
/// and invalid text counts as none.
pub(crate) fn extract(headers: &HeaderMap) -> TraceContext {
    let mut parents = values(headers, TRACEPARENT);
    // Two parents contradict each other, and count as none.
    let (Some(parent), None) = (parents.next(), parents.next()) else { return TraceContext(None) };
    TraceContext(w3c::parse(parent, values(headers, TRACESTATE)))
}

impl TraceContext {
    /// Makes `span`, which has not been entered, a part of this trace.
    pub(crate) fn becomes_parent_of(self, span: &Span) {
        if let Some(remote) = self.0 {
            // Fails where spans are not recorded for OpenTelemetry.
            let _is_recorded = span.set_parent(Context::new().with_remote_span_context(remote));
        }
    }

    /// Makes `span`, which has not been entered, a part of this trace, or links it where it is a part of another one.
    pub(crate) fn joins(self, span: &Span) {
        let Some(remote) = self.0 else { return };
        match current() {
            None => Self(Some(remote)).becomes_parent_of(span),
            Some(current) if current.trace_id() != remote.trace_id() => span.add_link(remote),
            Some(_) => {}
        }
    }
}

/// Returns the span that this thread is in, of `tracing` or of OpenTelemetry itself.
fn current() -> Option<SpanContext> {
    let of = |context: &Context| {
        let span = context.has_active_span().then(|| context.span().span_context().clone());
        span.filter(SpanContext::is_valid)
    };
    let span = Span::current();
    // No context is made where spans are not recorded.
    let recorded = if span.is_disabled() { None } else { of(&span.context()) };
    recorded.or_else(|| Context::map_current(of))
}

/// Header names are compared as they are by NATS, but some programs write them as HTTP does.
fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |(found, _)| AsRef::<str>::as_ref(found).eq_ignore_ascii_case(name))
        .flat_map(|(_, values)| values.iter().map(HeaderValue::as_str))
}
