//! Keys, subjects and envelopes of the seven events.

use crate::events;
use criterion::Criterion;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use stratt_event_bridge::{AnyEvent, Domain, Envelope, Event, EventType, Feed, Source};
use uuid::Uuid;

/// An envelope of the same fields without any rule.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plain<E> {
    event_id: Uuid,
    event_type: String,
    event_version: String,
    domain: String,
    timestamp: String,
    idempotency_key: String,
    source: String,
    payload: E,
    meta: serde_json::Map<String, serde_json::Value>,
}

pub(crate) fn keys(criterion: &mut Criterion) {
    let lines = "x".repeat(130);
    criterion.bench_function("plain: sha-256 of 130 bytes", |b| b.iter(|| Sha256::digest(black_box(&lines))));
}

pub(crate) fn subjects(criterion: &mut Criterion) {
    let domain: Domain = "dev".parse().unwrap();
    let write = || Feed::Strat.subject(black_box(&domain), EventType::UnitPublished);
    criterion.bench_function("subject", |b| b.iter(write));
}

pub(crate) fn envelopes(criterion: &mut Criterion) {
    of(criterion, &events::published());
    of(criterion, &events::deprecated());
    of(criterion, &events::tampered());
    of(criterion, &events::verified());
    of(criterion, &events::import_resolved());
    of(criterion, &events::gate_fired());
    of(criterion, &events::gate_resolved());
}

fn of<E: Event + DeserializeOwned>(criterion: &mut Criterion, event: &E) {
    let source: Source = "orchestrator-http:publisher:1.4.0".parse().unwrap();
    let build = || Envelope::builder(event.clone(), source.clone()).meta("correlationId", "42").build();
    let envelope = build().unwrap();
    let (subject, bytes) = (envelope.subject(), envelope.encode().unwrap());
    let text = String::from_utf8(bytes.clone()).unwrap();
    let plain: Plain<E> = serde_json::from_str(&text).unwrap();
    let mut group = criterion.benchmark_group(event.event_type().as_str());
    group.bench_function("key", |b| b.iter(|| black_box(event).idempotency_key()));
    group.bench_function("plain: to_writer", |b| {
        b.iter(|| {
            let mut bytes = Vec::with_capacity(768);
            serde_json::to_writer(&mut bytes, black_box(&plain)).map(|()| bytes)
        });
    });
    group.bench_function("encode", |b| b.iter(|| black_box(&envelope).encode()));
    group.bench_function("build and encode", |b| b.iter(|| build().map(|envelope| envelope.encode())));
    group.bench_function("plain: from_str", |b| {
        b.iter(|| serde_json::from_str::<Plain<E>>(black_box(&text)));
    });
    group.bench_function("decode and verify", |b| {
        b.iter(|| Envelope::<AnyEvent>::decode(&subject, black_box(&bytes)));
    });
    group.finish();
}
