//! Publishing, and the streams that it needs.
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

mod account_limits;
mod batch;
mod cloud_events;
mod durable_source;
mod foreign_answers;
mod forwarding;
mod forwarding_heal;
mod forwarding_proof;
mod forwarding_soak;
mod forwarding_window;
mod full_channel;
mod manifest;
mod pipelined;
mod publish;
mod recreated_origin;
mod startup;
mod stream_settings;
mod topology;
mod upgrade;
