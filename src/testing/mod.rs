//! The test kit: a real nats-server or cluster for every test, a network that fails on demand, and the conformance suite
//! for dedupe stores.
//! The test kit: a real nats-server, or Redis, for every test, and the conformance suite for dedupe stores.
//!
//! A service that embeds the bridge tests against the real broker; nothing needs to be mocked, since a server is
//! ready within milliseconds.

mod binary;
mod cluster;
pub mod conformance;
pub mod ledger;
mod process;
mod proxy;
mod server;

pub use crate::dedupe_conformance;
pub use cluster::NatsCluster;
pub use proxy::{Direction, FaultProxy};
mod redis;
mod server;

pub use crate::dedupe_conformance;
pub use redis::Redis;
pub use server::{NatsServer, NatsServerBuilder, ServerError};
