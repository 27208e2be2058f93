//! Shared by the dedupe stores and outboxes in a database of the host.

pub(crate) mod error;
pub(crate) mod render;
pub(crate) mod schema;
pub(crate) mod table_name;
