//! The setup of an exporter in the guide on observing. It stands here, since it needs packages that the library does
//! not.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use std::{error::Error, fs};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

#[rustfmt::skip]
fn set_up(exporter: InMemorySpanExporter) -> Result<SdkTracerProvider, Box<dyn Error>> {
// In a service `with_batch_exporter`, which sends them in the background.
let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("choco-adapter"));
let lines = tracing_subscriber::fmt::layer().json();
tracing_subscriber::registry()
    .with(traces.with_filter(EnvFilter::new("info,stratt_event_bridge::span=debug")))
    .with(lines.with_filter(EnvFilter::new("info,stratt_event_bridge::span=off")))
    .try_init()?;
// And at the end, `provider.shutdown()?`, or the last spans are lost.
    Ok(provider)
}

#[test]
fn an_exporter_set_up_as_the_guide_says_gets_spans() {
    let exporter = InMemorySpanExporter::default();
    let provider = set_up(exporter.clone()).unwrap();
    tracing::info_span!(target: "stratt_event_bridge::span", "publish").in_scope(|| {});
    assert_eq!(exporter.get_finished_spans().unwrap().len(), 1);
    provider.shutdown().unwrap();
}

#[test]
fn the_guide_shows_the_setup_that_is_tested() {
    let guide = fs::read_to_string(support::root().join("src/docs/observing.md")).unwrap();
    let shown = guide.split("```ignore\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let setup = shown.split("\n\n").nth(1).unwrap();
    assert!(include_str!("exporter.rs").contains(setup), "{setup}");
}
