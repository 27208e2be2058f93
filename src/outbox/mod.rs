//! The transactional outbox: an event is announced if and only if the host's transaction commits.
//!
//! [`enqueue`](PostgresOutbox::enqueue) writes the event into a table of the host's database within the host's
//! transaction, and an [`OutboxRelay`] publishes what is committed. What it guarantees is told in
//! [`docs::outbox`](crate::docs::outbox).

mod error;
mod meter;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod relay;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;

pub use error::{OutboxError, OutboxErrorKind};
pub use options::OutboxOptions;
#[cfg(feature = "postgres")]
pub use postgres::PostgresOutbox;
pub use relay::{OutboxRelay, RelayProgress, RelaySummary};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteOutbox;
pub use table::OutboxStatus;
