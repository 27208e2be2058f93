//! The name of a table in the host's database.

use crate::contract::value::{ParseError, text_traits};
use std::{str::FromStr, sync::Arc};

/// The name of a table in the host's database: `{table}` or `{schema}.{table}`, each `[a-z_][a-z0-9_]{0,39}`.
///
/// It is quoted in statements, so that words of SQL such as `order` are names like any other; nothing that could be more
/// than a name is accepted, nor a name that PostgreSQL or SQLite keeps for itself: `pg_...`, `sqlite...`, `json_each`, and
/// the schemas `information_schema` and `temp`. Without a schema the database's own rule finds it (in PostgreSQL the
/// `search_path`); in SQLite the schema is an attached database. Names of what is made beside it, such as indexes, begin
/// with it, and stay within the 63 bytes of PostgreSQL.
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
    /// Returns the text, without the quotes that it has in statements.
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
            let rule = "must be a table or schema.table, each [a-z_][a-z0-9_]* of at most 40 bytes, and none that \
                        PostgreSQL or SQLite keeps for itself, such as pg_... and sqlite...";
            Err(ParseError::new("table name", rule, text))
        }
    }
}

/// Returns the schema with its dot, or nothing, and the table.
pub(crate) fn split(table: &str) -> (&str, &str) {
    table.rfind('.').map_or(("", table), |dot| table.split_at(dot + 1))
}

/// Returns the name as it stands in statements.
#[cfg(feature = "postgres")]
pub(crate) fn quoted(table: &str) -> String {
    fill("{table}", table)
}

/// Writes the name of a table into a statement: in place of `{table}`, quoted; of `{schema}`, the schema with its dot or
/// nothing; and of `{bare}`, without a schema or quotes.
///
/// What begins with the name, such as `{table}_relay`, is no word of SQL, and is not quoted.
pub(crate) fn fill(statement: &str, table: &str) -> String {
    let (schema, bare) = split(table);
    let schema =
        if schema.is_empty() { String::new() } else { format!("\"{}\".", schema.trim_end_matches('.')) };
    let statement = statement.replace("{table}_", "{schema}{bare}_").replace("{table}", "{schema}\"{bare}\"");
    statement.replace("{schema}", &schema).replace("{bare}", bare)
}

fn is_name(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    // `{table}_schema` must not be the catalogue of SQLite, and a table `json_each` hides the function.
    let is_kept = text.starts_with("pg_") || text.starts_with("sqlite") || text == "json_each";
    begins_well && text.len() <= 40 && text.bytes().all(is_plain) && !is_kept
}

/// What is made in `temp` of SQLite is seen by one connection only.
fn is_schema(text: &str) -> bool {
    text != "temp" && text != "information_schema"
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

    #[test]
    fn names_that_a_database_keeps_for_itself_are_refused() {
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

    #[test]
    fn a_name_is_quoted_where_it_stands_alone() {
        for (table, wanted) in [
            ("order", "\"order\" order_relay order order_sent"),
            ("user.order", "\"user\".\"order\" \"user\".order_relay order \"user\".order_sent"),
        ] {
            assert_eq!(fill("{table} {table}_relay {bare} {schema}{bare}_sent", table), wanted);
        }
    }
}
