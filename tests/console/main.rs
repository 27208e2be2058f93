//! The console: its pages, what it refuses, what it writes down, and how it looks in a browser.
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

mod acts;
mod audited;
mod browser;
mod hostile;
mod live;
mod mounted;
mod pages;
mod permitted;
mod redrives;
mod refused;
mod site;
