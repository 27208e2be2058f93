//! The name of a table in the host's database.

use crate::contract::value::{ParseError, text_traits};
use std::{str::FromStr, sync::Arc};

/// The name of a table in the host's database: `{table}` or `{schema}.{table}`, each `[a-z_][a-z0-9_]{0,39}`.
///
/// Statements quote the name, so words of SQL such as `order` are allowed. Anything that could be more than a name is
/// rejected, and so are names reserved by PostgreSQL or SQLite: `pg_...`, `sqlite...`, `json_each`, and the schemas
/// `information_schema` and `temp`. Without a schema, the database resolves the name by its own rule (in PostgreSQL the
/// `search_path`); in SQLite, the schema is an attached database. Names of related objects, such as indexes, begin with
/// the name of the table and stay within the 63 bytes of PostgreSQL.
///
/// ```
/// use stratt_event_bridge::TableName;
///
/// let table: TableName = "events.stratt_dedupe".parse().unwrap();
/// assert_eq!(table.as_str(), "events.stratt_dedupe");
/// assert!("dedupe; DROP TABLE units".parse::<TableName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(Arc<str>);

impl TableName {
    /// Returns the name without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TableName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = text.split('.');
        let is_valid = match (names.next(), names.next(), names.next()) {
            (Some(table), None, None) => is_name(table),
            (Some(schema), Some(table), None) => is_name(schema) && is_schema(schema) && is_name(table),
            _ => false,
        };
        if is_valid {
            Ok(Self(text.into()))
        } else {
            let rule = "must be a table or schema.table, each [a-z_][a-z0-9_]* of at most 40 bytes, and not \
                        reserved by PostgreSQL or SQLite, such as pg_... and sqlite...";
            Err(ParseError::new("table name", rule, text))
        }
    }
}

fn is_name(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    // `{table}_schema` must not be the catalogue of SQLite, and a table `json_each` would hide the function.
    let is_reserved = text.starts_with("pg_") || text.starts_with("sqlite") || text == "json_each";
    begins_well && text.len() <= 40 && text.bytes().all(is_plain) && !is_reserved
}

/// Returns whether tables can live in this schema. `temp` of SQLite is visible to one connection only.
fn is_schema(text: &str) -> bool {
    text != "temp" && text != "information_schema"
}

text_traits!(TableName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_more_than_a_name_is_rejected() {
        for good in ["a", "_a1", "stratt_dedupe", "events.outbox", &"a".repeat(40)] {
            assert_eq!(good.parse::<TableName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a.b.c",
            "1a",
            "A",
            "a b",
            "a-b",
            "a;b",
            "a\"b",
            "a'b",
            "ä",
            "a\n",
            "a\0",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<TableName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_a_database_reserves_are_rejected() {
        for bad in [
            "pg_class",
            "pg_dedupe",
            "pg_temp.dedupe",
            "pg_catalog.dedupe",
            "information_schema.dedupe",
            "temp.dedupe",
            "sqlite",
            "sqlite_dedupe",
            "sqlite.dedupe",
            "json_each",
        ] {
            assert!(bad.parse::<TableName>().is_err(), "{bad:?}");
        }
        for good in ["order", "user.select", "temp", "pg", "information_schema"] {
            assert_eq!(good.parse::<TableName>().unwrap().as_str(), good);
        }
    }
}
