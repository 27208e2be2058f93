//! Names that are already taken by something else.

use crate::sql::{
    render::split,
    schema::{Kind, MigrateError, Part, Schema},
};

/// An object in the database with the name of a part.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    /// True if the object has the kind of that part.
    pub(super) is_of_kind: bool,
    pub(super) columns: Vec<String>,
}

impl Schema<'_> {
    /// Returns the names of all parts, without the schema.
    pub(super) fn names(&self) -> Vec<String> {
        let (_, bare) = split(self.table);
        self.parts.iter().map(|part| format!("{bare}{}", part.suffix)).collect()
    }

    /// Checks that what was found by the name of a part is that part.
    pub(super) fn owns(&self, part: Part, found: &Found) -> Result<(), MigrateError> {
        let reason = match part.kind {
            Kind::Table(columns) if found.is_of_kind => {
                let is_missing = |column: &&&str| !found.columns.iter().any(|found| found == *column);
                columns.iter().find(is_missing).map(|column| format!("it has no column {column}"))
            }
            _ if found.is_of_kind => None,
            Kind::Table(_) => Some("it is not a table".to_owned()),
            Kind::Index => Some(format!("it is not an index on {}", self.table)),
            #[cfg(feature = "postgres")]
            Kind::Sequence => Some("it is not a sequence".to_owned()),
        };
        let Some(reason) = reason else { return Ok(()) };
        let (schema, _) = split(self.table);
        let name = format!("{schema}{}", found.name);
        Err(MigrateError::Occupied(Occupied { name, owner: self.owner, reason }))
    }
}

/// A required name that belongs to something else.
#[derive(Debug, thiserror::Error)]
#[error("{name} is not part of {owner} ({reason}): choose another table name by with_table()")]
pub(crate) struct Occupied {
    name: String,
    owner: &'static str,
    reason: String,
}
