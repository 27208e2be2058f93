//! In SQLite the version stands in a table of its own, `{table}_schema`.

use super::{MigrateError, Schema};
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteConnection};

/// Creates a table with what belongs to it, where it is missing, and adds what is missing in it. One transaction: all of
/// it or nothing.
pub(crate) async fn migrate(pool: &SqlitePool, schema: Schema<'_>) -> Result<(), MigrateError> {
    let Schema { table, version, create, added } = schema;
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let keep = format!("CREATE TABLE IF NOT EXISTS {table}_schema (version INTEGER NOT NULL) STRICT");
    sqlx::query(AssertSqlSafe(keep)).execute(&mut *tx).await?;
    let look = format!("SELECT max(version) FROM {table}_schema");
    let found: Option<i64> = sqlx::query_scalar(AssertSqlSafe(look)).fetch_one(&mut *tx).await?;
    // In error nothing is committed, the table of the version included.
    found.map_or(Ok(()), |found| schema.knows(found))?;
    sqlx::raw_sql(AssertSqlSafe(create.to_owned())).execute(&mut *tx).await?;
    // Looked at one by one: the table may have been made anew beside a version that is older than it.
    for column in added {
        add(column, table, &mut tx).await?;
    }
    if found != Some(version) {
        let mark =
            format!("DELETE FROM {table}_schema; INSERT INTO {table}_schema (version) VALUES ({version})");
        sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

/// SQLite has no `IF NOT EXISTS` for columns.
async fn add(column: &str, table: &str, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let (database, name) = table.rsplit_once('.').unwrap_or(("main", table));
    let look = "SELECT count(*) FROM pragma_table_info(?1, ?2) WHERE name = ?3";
    let look = sqlx::query_scalar(look).bind(name).bind(database).bind(column);
    let count: i64 = look.fetch_one(&mut *connection).await?;
    if count == 0 {
        let add = format!("ALTER TABLE {table} ADD COLUMN {column} TEXT");
        sqlx::query(AssertSqlSafe(add)).execute(connection).await?;
    }
    Ok(())
}
