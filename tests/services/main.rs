//! The example services and tools as programs, and peers in other languages.
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

mod adapter;
mod connecting;
mod dead_letter_tool;
mod help;
mod interop;
mod least_privilege;
mod orchestrator;
mod orchestrator_limits;
mod orchestrator_refuses;
mod outbox_tool;
mod strattctl;
mod unspoken;
