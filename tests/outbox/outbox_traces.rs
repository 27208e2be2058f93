//! A trace crosses the outbox: what is published later, by whichever relay, is in the trace of its transaction.

use async_nats::HeaderMap;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, TraceContextExt, TraceState},
};
use stratt_event_bridge::{Delivery, Envelope, Feed, UnitPublished, async_nats, outbox::OutboxOptions};
use support::{Outbox, Running, Stage, Traces, eventually, published, source};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

/// The headers of the event with this envelope, once it is stored.
async fn headers(stage: &Stage, envelope: &Envelope<UnitPublished>) -> HeaderMap {
    let key = envelope.idempotency_key().to_string();
    let read = || async {
        let stream = stage.stream(Feed::Strat).await;
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let headers = stream.get_raw_message(sequence).await.unwrap().headers;
            if headers.get("Nats-Msg-Id").is_some_and(|id| id.as_str() == key) {
                return Some(headers);
            }
        }
        None
    };
    eventually("stored", read, Option::is_some).await.unwrap()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn one_trace_crosses_transaction_relay_broker_and_consumer() {
    support::needs!(Postgres);
    let traces = Traces::listen();
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        let consumer = stage.consumer("c").feed(Feed::Choco);
        let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) });
        let running = Running::start(consumer.build().await.unwrap());
        let (one, first, first_id) = Traces::request();
        let (other, second, second_id) = Traces::request();
        outbox.enqueue(&[envelope("a", 1), envelope("a", 2)], true).instrument(one).await;
        outbox.enqueue(&[envelope("a", 3)], true).instrument(other).await;
        outbox.enqueue(&[envelope("b", 1)], true).await;
        // Both requests are over.
        let relay = outbox.relay(&stage.bridge);
        for (trace, request, events) in [(first, first_id, 2), (second, second_id, 1)] {
            let of = |kind: SpanKind| {
                let spans = traces.of(trace).into_iter();
                spans.filter(|span| span.span_kind == kind).collect::<Vec<_>>()
            };
            let processed = || async { of(SpanKind::Consumer) };
            let process = eventually("processed", processed, |spans| spans.len() == events).await;
            let publish = of(SpanKind::Producer);
            assert_eq!(publish.len(), events, "{outbox:?}");
            for span in publish.iter().chain(&process) {
                assert_eq!((span.parent_span_id, span.links.len()), (request, 0), "{}", span.name);
                assert!(span.parent_span_is_remote, "{}", span.name);
            }
            assert!(publish.iter().all(|span| span.name == "publish strat.dev.unit.published"));
            assert!(process.iter().all(|span| span.name == "process choco.strat.dev.unit.published"));
        }
        for (number, trace, request) in [(1, first, first_id), (2, first, first_id), (3, second, second_id)] {
            let parent = text(&headers(&stage, &envelope("a", number)).await, "traceparent");
            assert_eq!(parent, format!("00-{trace}-{request}-01"));
        }
        // What was enqueued in no trace begins one, as before.
        let parent = text(&headers(&stage, &envelope("b", 1)).await, "traceparent");
        assert!(parent.len() == 55 && !parent.contains(&first.to_string()), "{parent}");
        assert_eq!(outbox.count("SELECT count(*) FROM stratt_outbox WHERE traceparent IS NULL").await, 1);
        relay.stop().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_relay_in_its_own_trace_links_and_forwards_the_event_trace() {
    support::needs!(Postgres);
    let traces = Traces::listen();
    let stage = Stage::new().await;
    let [_, outbox @ Outbox::Sqlite(_, sqlite)] = &Outbox::both(OutboxOptions::default()).await else {
        panic!("not SQLite")
    };
    let (request, trace, request_id) = Traces::request();
    outbox.enqueue(&[envelope("a", 1)], true).instrument(request).await;
    let (service, services, _) = Traces::request();
    let relay = sqlite.relay(&stage.bridge);
    let progress = relay.progress();
    let published = || async { progress.summary().published };
    let shutdown = async {
        eventually("published", published, |count| *count == 1).await;
    };
    relay.run(shutdown).instrument(service).await.unwrap();
    let spans = traces.of(services);
    let publish = spans.iter().find(|span| span.span_kind == SpanKind::Producer).unwrap();
    let links: Vec<_> = publish.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [request_id]);
    let parent = text(&headers(&stage, &envelope("a", 1)).await, "traceparent");
    assert_eq!(parent, format!("00-{trace}-{request_id}-01"));
}

/// The span of a request that came with this state, from somewhere else.
fn request_with(state: TraceState) -> Span {
    let (request, ..) = Traces::request_of(|span| {
        let (trace, parent) = (TraceId::from(7), SpanId::from(7));
        let remote = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, state);
        span.set_parent(Context::new().with_remote_span_context(remote)).unwrap();
    });
    request
}

#[tokio::test]
async fn a_tracestate_is_stored_unless_it_is_too_long() {
    support::needs!(Postgres);
    let _traces = Traces::listen();
    let long = (0..40).map(|number| (format!("k{number}"), "x".repeat(200)));
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        let short = TraceState::from_key_value([("a", "1")]).unwrap();
        outbox.enqueue(&[envelope("a", 1)], true).instrument(request_with(short)).await;
        let long = TraceState::from_key_value(long.clone()).unwrap();
        outbox.enqueue(&[envelope("a", 2)], true).instrument(request_with(long)).await;
        let kept = "SELECT count(*) FROM stratt_outbox WHERE length(traceparent) = 55 AND tracestate = 'a=1'";
        assert_eq!(outbox.count(kept).await, 1);
        let left_out =
            "SELECT count(*) FROM stratt_outbox WHERE length(traceparent) = 55 AND tracestate IS NULL";
        assert_eq!(outbox.count(left_out).await, 1);
        let relay = outbox.relay(&stage.bridge);
        for (number, state) in [(1, "a=1"), (2, "")] {
            let headers = headers(&stage, &envelope("a", number)).await;
            assert!(text(&headers, "traceparent").contains(&TraceId::from(7).to_string()));
            assert_eq!(text(&headers, "tracestate"), state);
        }
        relay.stop().await;
    }
}
