//! Claim and settle in a store that answers at once.

use criterion::{BatchSize, Criterion, Throughput};
use futures::FutureExt;
use std::time::Duration;
use stratt_event_bridge::dedupe::{Claim, DedupeStore, MemoryStore, Slot};
use uuid::Uuid;

const SLOTS: u16 = 1000;
const LEASE: Duration = Duration::from_secs(40);

/// A thousand new slots in a new store.
pub(crate) fn slots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Elements(SLOTS.into()));
    group.bench_function("claim and settle, 1000 slots", |b| {
        b.iter_batched_ref(
            || (MemoryStore::new(), (0..SLOTS).map(|_| slot()).collect::<Vec<_>>()),
            |(store, slots)| {
                for slot in slots {
                    let claim = store.claim(slot, LEASE).now_or_never().unwrap().unwrap();
                    let Claim::Acquired { fence, .. } = claim else { continue };
                    store.settle(slot, fence).now_or_never().unwrap().unwrap();
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn slot() -> Slot {
    let key = format!("{0}{0}", Uuid::new_v4().simple()).parse().unwrap();
    Slot::new("choco-unit-deprecated".parse().unwrap(), key)
}
