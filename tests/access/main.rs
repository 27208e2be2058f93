//! Permissions: least privilege for each role, and what a missing permission looks like.
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

mod acl;
mod domains;
mod permissions;
