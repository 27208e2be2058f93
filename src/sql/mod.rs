//! What the dedupe stores and the outboxes share of a database.

pub(crate) mod error;
pub(crate) mod schema;
pub(crate) mod table_name;
