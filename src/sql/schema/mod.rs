//! The tables in the host's database, made whole, and their version, which is written down beside them.

mod occupied;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub(crate) use occupied::Occupied;

/// What a table is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema<'a> {
    pub(crate) table: &'a str,
    /// Whose it is, such as "a dedupe store".
    pub(crate) owner: &'static str,
    /// The one that this program makes and knows. Tables that say nothing about it are of the first one.
    pub(crate) version: i64,
    /// Makes what is missing of its parts, each by itself. In PostgreSQL numbers begin at `{start}`, which is the time: none
    /// is used again after all was dropped.
    pub(crate) create: &'a str,
    /// Columns that later versions have added, with their types.
    pub(crate) added: &'a [&'a str],
    /// All that belongs to it, the table first.
    pub(crate) parts: &'a [Part],
}

/// Something that is made. Its name is that of the table, with a suffix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) suffix: &'static str,
    pub(crate) kind: Kind,
}

/// What a part is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// With some columns that it has in every version, by which it is recognised.
    Table(&'static [&'static str]),
    /// On the table.
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
    /// Something else has one of their names. Nothing was touched.
    Occupied(Occupied),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The version of tables that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("table has schema version {found}, and this program knows {known} at most: upgrade it")]
pub(crate) struct NewerSchema {
    found: i64,
    known: i64,
}
