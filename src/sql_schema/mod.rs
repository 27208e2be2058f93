//! The version of the tables in the host's database, which is written down beside them.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::{error::Error, fmt};

/// What a table is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema<'a> {
    pub(crate) table: &'a str,
    /// The one that this program makes and knows. Tables that say nothing about it are of the first one.
    pub(crate) version: i64,
    /// Makes the table as the first version had it, with what belongs to it.
    pub(crate) create: &'a str,
    /// Columns that later versions have added: of text, and empty in the rows that were there before.
    pub(crate) added: &'a [&'a str],
}

impl Schema<'_> {
    fn knows(&self, version: i64) -> Result<(), MigrateError> {
        if version <= self.version {
            return Ok(());
        }
        Err(MigrateError::Newer(NewerSchema { found: version, known: self.version }))
    }
}

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
pub(crate) struct NewerSchema {
    found: i64,
    known: i64,
}

impl fmt::Display for NewerSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, known } = self;
        write!(f, "table has schema version {found}, and this program knows {known} at most: upgrade it")
    }
}

impl Error for NewerSchema {}
