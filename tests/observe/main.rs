//! Spans, metrics, traces, status, and what must never be logged.
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

mod age;
mod alarms;
mod connection_error;
mod forwarding;
mod frozen;
mod log_lines;
mod metrics;
mod outbox_alarms;
mod paused;
mod secrets;
mod spans;
mod status;
mod timeline;
mod traces;
