//! The transactional outbox: an event is announced if and only if the host's transaction commits.
//!
//! [`enqueue`](SqlOutbox::enqueue) writes the event into a table of the host's database within the host's transaction,
//! and an [`OutboxRelay`] publishes what is committed. Guarantees and operation are described in
//! [`docs::outbox`](crate::docs::outbox).

mod error;
#[cfg(feature = "metrics")]
mod meter;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod quarantined;
mod relay;
mod row;
mod sql_outbox;
#[cfg(feature = "sqlite")]
mod sqlite;
mod status;
mod table;

pub use error::{OutboxError, OutboxErrorKind};
pub use options::OutboxOptions;
#[cfg(feature = "postgres")]
pub use postgres::PostgresOutbox;
pub use quarantined::QuarantinedEvent;
pub use relay::{OutboxRelay, RelayProgress, RelaySummary};
pub use sql_outbox::SqlOutbox;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteOutbox;
pub use status::OutboxStatus;
