//! The parts of the contract layer and the store in memory, without a server, each beside the plain work that it cannot
//! do without: `cargo bench -p benches --bench micro -- [PART]`.
//!
//! Not here, since they are private and a bench sees what everybody sees: `decide`, and the parsing of a subject, which
//! is a part of `decode and verify`.
#![allow(clippy::unwrap_used, reason = "the inputs are constants")]

mod contract;
mod events;
mod store;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

criterion_group! {
    name = micro;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = contract::keys, contract::subjects, contract::envelopes, store::slots
}
criterion_main!(micro);
