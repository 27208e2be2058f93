//! Live events without a durable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_debug_implementations,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod begins;
mod errors;
mod faults;
mod leaves_nothing;
mod seen;
