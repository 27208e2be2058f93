//! Writing the name of a table into SQL.

use std::sync::Arc;

/// The time in SQLite: milliseconds since 1970, the resolution of its clock. Rounded, since it counts in fractions of
/// days.
const SQLITE_NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER)";

/// Returns a statement for `table`. These placeholders are replaced:
///
/// - `{table}`: the name, quoted. What begins with the name, such as `{table}_relay`, is no word of SQL and is not
///   quoted.
/// - `{schema}`: the schema with its dot, or nothing.
/// - `{bare}`: the name without schema and quotes.
/// - `{now}`: the time in milliseconds since 1970; SQLite only.
pub(crate) fn render(statement: &str, table: &str) -> Arc<str> {
    let (schema, bare) = split(table);
    let schema =
        if schema.is_empty() { String::new() } else { format!("\"{}\".", schema.trim_end_matches('.')) };
    let statement = statement.replace("{table}_", "{schema}{bare}_").replace("{table}", "{schema}\"{bare}\"");
    statement.replace("{schema}", &schema).replace("{bare}", bare).replace("{now}", SQLITE_NOW).into()
}

/// Returns the schema with its dot, or nothing, and the name of the table.
pub(crate) fn split(table: &str) -> (&str, &str) {
    table.rfind('.').map_or(("", table), |dot| table.split_at(dot + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_where_it_stands_alone() {
        for (table, wanted) in [
            ("order", "\"order\" order_relay order order_sent"),
            ("user.order", "\"user\".\"order\" \"user\".order_relay order \"user\".order_sent"),
        ] {
            assert_eq!(&*render("{table} {table}_relay {bare} {schema}{bare}_sent", table), wanted);
        }
    }
}
