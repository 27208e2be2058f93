//! The contract and the sources: values, envelopes, golden files, schemas, links, and the shape of the code. No server
//! is started.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::clone_on_ref_ptr,
    clippy::assigning_clones,
    clippy::print_stdout,
    missing_debug_implementations,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod exporter;
mod golden;
mod hostile;
mod layers;
mod links;
mod monitoring;
mod named;
mod parse_errors;
mod roundtrip;
mod schema;
mod tidy;
mod values;
