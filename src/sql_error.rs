//! What both users of a database ask about its errors.

/// Whether a table or a column is missing, so that this is not the schema that the statement was written for.
pub(crate) fn is_other_schema(error: &sqlx::Error) -> bool {
    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: undefined table, undefined column.
    const UNDEFINED: [&str; 2] = ["42P01", "42703"];
    error.as_database_error().is_some_and(|error| {
        let is_undefined = error.code().is_some_and(|code| UNDEFINED.contains(&&*code));
        // SQLite has no code for it.
        is_undefined || error.message().starts_with("no such ") || error.message().contains("has no column")
    })
}
