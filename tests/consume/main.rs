//! Consuming: delivering, retrying, dead-lettering, redriving, and the life of a consumer.
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

mod ahead;
mod batches;
mod blocked;
mod breaker;
mod compatibility;
mod consume;
mod dead_letters;
mod deferred;
mod drift;
mod durables;
mod expiry;
mod explain;
mod gaps;
mod groups;
mod handler_errors;
mod hostile_headers;
mod invalid;
mod leases;
mod letter_limits;
mod lifecycle;
mod order;
mod outage;
mod overflow;
mod parking;
mod parking_killed;
mod postponed;
mod prefetch;
mod recreated_letters;
mod recreation;
mod redrive;
mod replay;
mod settling;
mod shutdown;
mod shutdown_offline;
mod slow;
mod standby;
mod store_recovery;
mod sweeper;
mod sweeper_shutdown;
mod twins;
mod unreadable;
