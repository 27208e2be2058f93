//! The test kit: a real nats-server for every test, and the conformance suite for dedupe stores.
//!
//! A service that embeds the bridge tests against the real broker; nothing needs to be mocked, since a server is
//! ready within milliseconds.

mod binary;
pub mod conformance;
pub mod ledger;
mod process;
mod server;

pub use crate::dedupe_conformance;
pub use server::{NatsServer, NatsServerBuilder, ServerError};
