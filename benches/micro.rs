//! The parts of the contract layer, each beside the plain work that it cannot do without: `cargo bench --bench micro`.
#![allow(clippy::unwrap_used, reason = "the inputs are constants")]

use criterion::{Criterion, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use stratt_event_bridge::{AnyEvent, Envelope, Event, Source, UnitPublished};
use uuid::Uuid;

/// An envelope of the same fields without any rule.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plain {
    event_id: Uuid,
    event_type: String,
    event_version: String,
    domain: String,
    timestamp: String,
    idempotency_key: String,
    source: String,
    payload: UnitPublished,
    meta: serde_json::Map<String, serde_json::Value>,
}

fn event() -> UnitPublished {
    let fingerprint = format!("blake3:{}", "0f".repeat(32)).parse();
    UnitPublished::new("strat://dev/rule/no-secrets@1.0.0".parse().unwrap(), fingerprint.unwrap())
        .with_previous_status("draft")
        .with_actor("user:alice@example.com")
}

fn benches(criterion: &mut Criterion) {
    let source: Source = "orchestrator-http:publisher:1.4.0".parse().unwrap();
    let (event, lines) = (event(), "x".repeat(130));
    let build = || Envelope::builder(event.clone(), source.clone()).meta("correlationId", "42").build();
    let bytes = build().unwrap().encode().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let plain: Plain = serde_json::from_str(&text).unwrap();

    criterion.bench_function("plain: sha-256 of 130 bytes", |b| b.iter(|| Sha256::digest(black_box(&lines))));
    criterion.bench_function("key", |b| b.iter(|| black_box(&event).idempotency_key()));
    criterion.bench_function("plain: to_writer", |b| {
        b.iter(|| {
            let mut bytes = Vec::with_capacity(768);
            serde_json::to_writer(&mut bytes, black_box(&plain)).map(|()| bytes)
        });
    });
    let envelope = build().unwrap();
    criterion.bench_function("encode", |b| b.iter(|| black_box(&envelope).encode()));
    criterion.bench_function("build and encode", |b| b.iter(|| build().map(|envelope| envelope.encode())));
    criterion
        .bench_function("plain: from_str", |b| b.iter(|| serde_json::from_str::<Plain>(black_box(&text))));
    criterion.bench_function("decode and verify", |b| {
        b.iter(|| Envelope::<AnyEvent>::decode("strat.dev.unit.published", black_box(&bytes)));
    });
}

criterion_group!(micro, benches);
criterion_main!(micro);
