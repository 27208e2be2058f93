//! Least privilege: every role does its whole work with its permissions, and nothing else.

mod accounts;
mod guarded;
mod inbox;
mod needed;
mod refused;
mod rendered;
mod replies;
mod roles;
mod tls;
