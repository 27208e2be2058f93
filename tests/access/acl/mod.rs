//! Least privilege: every role does its whole work with its permissions, and nothing else.

mod accounts;
mod consuming;
pub mod guarded;
mod inbox;
mod jwt;
mod needed;
mod place;
mod refused;
mod rendered;
mod replies;
mod roles;
mod tls;
