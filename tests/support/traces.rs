use super::log::subscribe;
use opentelemetry::{
    Value,
    trace::{SpanId, TraceContextExt, TraceId, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::{cell::Cell, sync::OnceLock};
use tracing::{Metadata, Span, Subscriber, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, layer::Context, registry::LookupSpan};

thread_local! {
    static IS_TRACED: Cell<bool> = const { Cell::new(false) };
}

static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();

/// The spans that OpenTelemetry receives on this thread, for tests with a single-threaded runtime.
#[derive(Debug)]
pub struct Traces(InMemorySpanExporter);

impl Drop for Traces {
    fn drop(&mut self) {
        IS_TRACED.set(false);
    }
}

impl Traces {
    pub fn listen() -> Self {
        subscribe();
        IS_TRACED.set(true);
        Self(EXPORTER.get().unwrap().clone())
    }

    /// Returns the span of a request, for work to be done in it.
    pub fn request() -> (Span, TraceId, SpanId) {
        Self::request_of(|_| {})
    }

    /// Returns the span of a request after `prepare` has run on it.
    pub fn request_of(prepare: impl FnOnce(&Span)) -> (Span, TraceId, SpanId) {
        let request = info_span!(target: "stratt_event_bridge::tests", "request");
        prepare(&request);
        let context = request.context();
        let span = context.span().span_context().clone();
        assert!(span.is_valid());
        (request, span.trace_id(), span.span_id())
    }

    /// Returns the ended spans of a trace, in the order in which they ended.
    pub fn of(&self, trace: TraceId) -> Vec<SpanData> {
        let ended = self.0.get_finished_spans().unwrap();
        ended.into_iter().filter(|span| span.span_context.trace_id() == trace).collect()
    }

    /// Returns all ended spans with this value of the attribute, of any trace.
    pub fn with(&self, attribute: &str, value: &str) -> Vec<SpanData> {
        let ended = self.0.get_finished_spans().unwrap();
        ended.into_iter().filter(|span| attribute_of(span, attribute) == value).collect()
    }
}

pub fn attribute_of(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map_or(String::new(), |attribute| match &attribute.value {
        Value::String(text) => text.as_str().to_owned(),
        other => other.to_string(),
    })
}

pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let exporter = EXPORTER.get_or_init(InMemorySpanExporter::default).clone();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    let is_meant = |metadata: &Metadata<'_>, _: &Context<'_, S>| {
        metadata.is_span() && metadata.target().starts_with("stratt_event_bridge") && IS_TRACED.get()
    };
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tests"))
        .with_filter(dynamic_filter_fn(is_meant))
}
