//! The outbox and its relay, in PostgreSQL and SQLite.
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

mod log_lines;
mod outbox;
mod outbox_batches;
mod outbox_deaths;
mod outbox_fairness;
mod outbox_growth;
mod outbox_traces;
mod shutdown;
mod slow_database;
mod starvation;
mod upgrade;
