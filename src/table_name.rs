//! The name of a table in the host's database.

use crate::value::{ParseError, text_traits};
use std::{str::FromStr, sync::Arc};

/// The name of a table in the host's database: `{table}` or `{schema}.{table}`, each `[a-z_][a-z0-9_]{0,39}`.
///
/// It stands in statements as it is written here, unquoted; nothing that could be more than a name is accepted. Without
/// a schema the database's own rule finds it (in PostgreSQL the `search_path`); in SQLite the schema is an attached
/// database. Names of indexes and sequences begin with it, and stay within the 63 bytes of PostgreSQL.
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
    /// The text, as it stands in statements.
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
            (Some(schema), Some(table), None) => is_name(schema) && is_name(table),
            _ => false,
        };
        if is_valid {
            Ok(Self(text.into()))
        } else {
            let rule = "must be a table or schema.table, each [a-z_][a-z0-9_]* of at most 40 bytes";
            Err(ParseError::new("table name", rule, text))
        }
    }
}

fn is_name(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    begins_well && text.len() <= 40 && text.bytes().all(is_plain)
}

text_traits!(TableName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_a_name_is_refused() {
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
}
