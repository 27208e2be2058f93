//! Creation and upgrade of the tables in the host's database, and their recorded schema version.

mod occupied;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub(crate) use occupied::Occupied;

/// The wanted schema of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema<'a> {
    pub(crate) table: &'a str,
    /// The kind of its owner, such as "a dedupe store".
    pub(crate) owner: &'static str,
    /// The version that this program creates and knows. Tables without a recorded version have the first one.
    pub(crate) version: i64,
    /// Creates each part that is missing. In PostgreSQL, numbers begin at `{start}`, the current time, so that none is
    /// reused after everything was dropped.
    pub(crate) create: &'a str,
    /// Columns added by later versions, with their types.
    pub(crate) added: &'a [&'a str],
    /// All parts, the table first.
    pub(crate) parts: &'a [Part],
}

/// An object in the database. Its name is that of the table with a suffix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) suffix: &'static str,
    pub(crate) kind: Kind,
}

/// The kind of a part.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A table, recognised by columns that it has in every version.
    Table(&'static [&'static str]),
    /// An index on the table.
    Index,
    #[cfg(feature = "postgres")]
    Sequence,
}

impl Part {
    pub(crate) const fn table(suffix: &'static str, columns: &'static [&'static str]) -> Self {
        Self { suffix, kind: Kind::Table(columns) }
    }

    pub(crate) const fn index(suffix: &'static str) -> Self {
        Self { suffix, kind: Kind::Index }
    }

    #[cfg(feature = "postgres")]
    pub(crate) const fn sequence(suffix: &'static str) -> Self {
        Self { suffix, kind: Kind::Sequence }
    }
}

impl Schema<'_> {
    /// Returns the columns added by later versions that are not among those found.
    fn missing<'a>(&'a self, found: &'a [String]) -> impl Iterator<Item = &'a str> {
        let name = |column: &str| column.split(' ').next().unwrap_or_default().to_owned();
        self.added.iter().copied().filter(move |column| !found.contains(&name(column)))
    }

    fn knows(&self, version: i64) -> Result<(), MigrateError> {
        if version <= self.version {
            return Ok(());
        }
        Err(MigrateError::Newer(NewerSchema { found: version, known: self.version }))
    }
}

/// An error of a migration.
#[derive(Debug)]
pub(crate) enum MigrateError {
    Database(sqlx::Error),
    /// The tables were created or changed by a newer program. Nothing was touched.
    Newer(NewerSchema),
    /// One of the names belongs to something else. Nothing was touched.
    Occupied(Occupied),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A schema version that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("table has schema version {found}, but this program knows {known} at most: upgrade the program")]
pub(crate) struct NewerSchema {
    found: i64,
    known: i64,
}
