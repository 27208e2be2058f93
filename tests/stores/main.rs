//! The dedupe stores, on their real backends.
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

mod bucket_settings;
mod clock;
mod database_faults;
mod dedupe;
mod growing_table;
mod half_made;
mod must_fail;
mod recreated;
mod redis;
mod renewals;
mod retention;
mod settle_in;
mod skew;
mod slots;
mod sql_schema;
mod sql_stores;
mod store_faults;
mod table_names;
mod wrong_backends;
mod wrong_renewals;
mod wrong_stores;
