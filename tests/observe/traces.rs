//! One trace from the publisher through the broker to the consumer, dead letters and redrives included.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use futures::{StreamExt, stream};
use opentelemetry::trace::{SpanKind, Status};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use stratt_event_bridge::{
    BridgeOptions, ConsumerBuilder, Delivery, Envelope, EventBridge, Feed, HandlerError, UnitPublished,
    async_nats, topology::Topology,
};
use support::{Running, Stage, Traces, attribute_of, eventually, published, source};
use tracing::Instrument;

/// The headers of a message, by stream and sequence.
async fn headers(stage: &Stage, stream: &str, sequence: u64) -> HeaderMap {
    let context = stage.context();
    let read = || async {
        let stream = context.get_stream(stream).await.unwrap();
        stream.get_raw_message(sequence).await.ok().map(|message| message.headers)
    };
    eventually("message", read, Option::is_some).await.unwrap()
}

fn parent_of(headers: &HeaderMap) -> String {
    headers.get("traceparent").map(ToString::to_string).unwrap_or_default()
}

fn ignoring(builder: ConsumerBuilder) -> ConsumerBuilder {
    builder.feed(Feed::Choco).on(|_: Delivery<UnitPublished>| async { Ok(()) })
}

#[tokio::test]
async fn one_trace_crosses_publish_consume_letter_and_redrive() {
    let traces = Traces::listen();
    let stage = Stage::new().await;
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = healed.clone();
    let consumer = stage.consumer("c").feed(Feed::Choco).on(move |_: Delivery<UnitPublished>| {
        let is_healed = is_healed.load(Ordering::SeqCst);
        async move { if is_healed { Ok(()) } else { Err(HandlerError::reject("never")) } }
    });
    let running = Running::start(consumer.build().await.unwrap());
    let (request, trace, request_id) = Traces::request();
    let stored = stage.bridge.publish(published("a", 1)).instrument(request).await.unwrap();
    let letter = stage.dead_letters_are(1).await[0].sequence();
    stage.all_answered(Feed::Choco, "c").await;

    // An event of another publisher, in a trace of another kind.
    healed.store(true, Ordering::SeqCst);
    let (operator, other_trace, _) = Traces::request();
    let dead_letters = stage.bridge.dead_letters();
    let letter_headers = headers(&stage, "STRATT_DLQ", letter).await;
    let redriven = dead_letters.redrive(letter).instrument(operator).await.unwrap();
    let handled = || async {
        traces.of(trace).iter().filter(|s| attribute_of(s, "stratt.outcome") == "handled").count()
    };
    eventually("handled", handled, |count| *count == 1).await;
    running.stop().await;

    let spans = traces.of(trace);
    let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let publish = of("publish strat.dev.unit.published");
    assert_eq!((publish.len(), &publish[0].span_kind), (1, &SpanKind::Producer));
    assert_eq!(publish[0].parent_span_id, request_id);
    let (publish, publish_id) = (publish[0], publish[0].span_context.span_id());
    assert_eq!(attribute_of(publish, "messaging.system"), "nats");
    assert_eq!(publish.status, Status::Unset);

    let first = of("process choco.strat.dev.unit.published");
    let process: Vec<_> = first.into_iter().chain(of("process choco.redrive.c.dev.unit.published")).collect();
    assert_eq!(process.len(), 2);
    for span in &process {
        assert_eq!((&span.span_kind, span.parent_span_id), (&SpanKind::Consumer, publish_id));
        assert!(span.parent_span_is_remote);
        assert_eq!(attribute_of(span, "messaging.consumer.group.name"), "c");
    }
    assert!(matches!(process[0].status, Status::Error { .. }) && process[1].status == Status::Unset);
    let dead_letter = of("dead_letter stratt.dlq.c.dev.unit.published");
    assert_eq!(dead_letter[0].parent_span_id, process[0].span_context.span_id());
    let letter = of("publish stratt.dlq.c.dev.unit.published");
    assert_eq!(letter[0].parent_span_id, dead_letter[0].span_context.span_id());
    assert_eq!(letter[0].links.len(), 0);
    assert_eq!((of("term CHOCO_STRATT").len(), of("ack CHOCO_STRATT").len()), (1, 1));

    // The redrive belongs to the trace of the operator, and links to what it redrives.
    let redrive = traces.of(other_trace);
    let redrive =
        redrive.iter().find(|span| span.name == "publish stratt.redrive.c.dev.unit.published").unwrap();
    assert_eq!(
        redrive.links.iter().map(|link| link.span_context.span_id()).collect::<Vec<_>>(),
        [publish_id]
    );

    let parent = format!("00-{trace}-{publish_id}-01");
    for (stream, sequence) in [
        ("STRATT_EVENTS", stored.sequence()),
        ("CHOCO_STRATT", 1),
        ("STRATT_EVENTS", redriven.sequence()),
        ("CHOCO_STRATT", 2),
    ] {
        assert_eq!(parent_of(&headers(&stage, stream, sequence).await), parent, "{stream} {sequence}");
    }
    assert_eq!(parent_of(&letter_headers), parent);
}

#[tokio::test]
async fn each_way_of_publishing_carries_the_trace_on() {
    let traces = Traces::listen();
    let stage = Stage::on_newest().await;
    stage.bridge.provision(&Topology::default().with_batches(true)).await.unwrap();
    let envelope = |number| Envelope::builder(published("a", number), source()).build().unwrap();
    let (request, trace, request_id) = Traces::request();
    let published = async {
        let all = stage.bridge.publish_all(stream::iter([envelope(1), envelope(2)]));
        assert_eq!(all.filter(|receipt| std::future::ready(receipt.is_ok())).count().await, 2);
        stage.bridge.publish_batch(&[envelope(3), envelope(4)]).await.unwrap();
    };
    published.instrument(request).await;
    let spans = traces.of(trace);
    let spans: Vec<_> = spans.iter().filter(|span| span.name.starts_with("publish")).collect();
    assert_eq!(spans.len(), 3);
    for span in &spans {
        assert_eq!(span.parent_span_id, request_id);
    }
    for (sequence, span) in [(1, spans[0]), (2, spans[1]), (3, spans[2]), (4, spans[2])] {
        let parent = format!("00-{trace}-{}-01", span.span_context.span_id());
        assert_eq!(parent_of(&headers(&stage, "STRATT_EVENTS", sequence).await), parent, "{sequence}");
    }
    let running = Running::start(ignoring(stage.consumer("c")).build().await.unwrap());
    let handled =
        || async { traces.of(trace).iter().filter(|span| span.span_kind == SpanKind::Consumer).count() };
    eventually("handled", handled, |count| *count == 4).await;
    running.stop().await;
}

#[tokio::test]
async fn where_there_is_no_trace_none_is_carried() {
    let stage = Stage::new().await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let headers = headers(&stage, "STRATT_EVENTS", 1).await;
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["Content-Type", "Nats-Msg-Id"]);
}

#[tokio::test]
async fn two_traces_of_one_fact_are_one_event() {
    let _traces = Traces::listen();
    let stage = Stage::new().await;
    let options = BridgeOptions::default().with_verify_duplicates(true);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let (one, first_trace, _) = Traces::request();
    let (other, ..) = Traces::request();
    let stored = bridge.publish(published("a", 1)).instrument(one).await.unwrap();
    let again = bridge.publish(published("a", 1)).instrument(other.clone()).await.unwrap();
    assert_eq!((again.sequence(), again.is_duplicate()), (stored.sequence(), true));
    let envelope = Envelope::builder(published("a", 1), source()).build().unwrap();
    let mut all = Box::pin(bridge.publish_all(stream::iter([envelope])));
    let again = all.next().instrument(other).await.unwrap().unwrap();
    assert_eq!((again.sequence(), again.is_duplicate()), (stored.sequence(), true));
    let headers = headers(&stage, "STRATT_EVENTS", 1).await;
    assert!(parent_of(&headers).contains(&first_trace.to_string()));
}

#[tokio::test]
async fn hostile_contexts_change_nothing_about_an_event() {
    let traces = Traces::listen();
    let stage = Stage::new().await;
    let context = stage.context();
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let contexts: Vec<Vec<(&str, String)>> = vec![
        vec![("traceparent", "x".repeat(30_000))],
        vec![("traceparent", String::new())],
        vec![("traceparent", valid.to_uppercase())],
        vec![("traceparent", valid.into()), ("traceparent", valid.replace('4', "5"))],
        vec![("traceparent", valid.into()), ("Traceparent", valid.into())],
        vec![("tracestate", "a=1".into())],
        vec![("traceparent", valid.replace("00-", "ff-"))],
    ];
    let count = contexts.len();
    for (number, headers) in (1..).zip(contexts) {
        let envelope = Envelope::builder(published("a", number), source()).build().unwrap();
        let mut map = HeaderMap::new();
        map.insert(NATS_MESSAGE_ID, envelope.idempotency_key().to_string());
        for (name, value) in headers {
            map.append(name, value);
        }
        let bytes = envelope.encode().unwrap().into();
        context.publish_with_headers(envelope.subject(), map, bytes).await.unwrap().await.unwrap();
    }
    // A valid trace with a state that is far too long, and header names in the case of HTTP.
    let envelope = Envelope::builder(published("b", 1), source()).build().unwrap();
    let mut map = HeaderMap::new();
    map.insert("Traceparent", valid);
    map.insert("Tracestate", format!("a={}", "x".repeat(30_000)));
    let bytes = envelope.encode().unwrap().into();
    context.publish_with_headers(envelope.subject(), map, bytes).await.unwrap().await.unwrap();

    let running = Running::start(ignoring(stage.consumer("hostile")).build().await.unwrap());
    let group = "messaging.consumer.group.name";
    let processed = || async {
        let spans = traces.with(group, "hostile").into_iter();
        spans.filter(|span| span.span_kind == SpanKind::Consumer).collect::<Vec<_>>()
    };
    let spans = eventually("processed", processed, |spans| spans.len() == count + 1).await;
    assert_eq!(running.stop().await.handled, u64::try_from(count + 1).unwrap());
    let of_remote: Vec<_> = spans.iter().filter(|span| span.parent_span_is_remote).collect();
    assert_eq!(of_remote.len(), 1);
    assert_eq!(of_remote[0].span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(of_remote[0].span_context.trace_state().header(), "");
    assert_eq!(attribute_of(of_remote[0], "stratt.sequence"), (count + 1).to_string());
}
