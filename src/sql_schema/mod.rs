//! The version of the tables in the host's database, which is written down beside them.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::{error::Error, fmt};

/// The version that this program makes and knows. Tables that say nothing about it are of the first one.
const VERSION: i64 = 1;

/// Why tables were not made.
#[derive(Debug)]
pub(crate) enum MigrateError {
    Database(sqlx::Error),
    /// A newer program has made or changed them. Nothing was touched.
    Newer(NewerSchema),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The version of tables that this program does not know.
#[derive(Debug)]
pub(crate) struct NewerSchema(i64);

impl fmt::Display for NewerSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table has schema version {}, and this program knows {VERSION} at most: upgrade it", self.0)
    }
}

impl Error for NewerSchema {}

fn is_known(version: i64) -> Result<(), MigrateError> {
    if version <= VERSION { Ok(()) } else { Err(MigrateError::Newer(NewerSchema(version))) }
}
