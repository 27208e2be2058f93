//! In SQLite the version stands in a table of its own, `{table}_schema`.

use super::{MigrateError, VERSION, is_known};
use sqlx::{AssertSqlSafe, SqlitePool};

/// Creates `table` with what belongs to it, where it is missing. One transaction: all of it or nothing.
pub(crate) async fn migrate(pool: &SqlitePool, table: &str, create: &str) -> Result<(), MigrateError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let keep = format!("CREATE TABLE IF NOT EXISTS {table}_schema (version INTEGER NOT NULL) STRICT");
    sqlx::query(AssertSqlSafe(keep)).execute(&mut *tx).await?;
    let look = format!("SELECT max(version) FROM {table}_schema");
    let version: Option<i64> = sqlx::query_scalar(AssertSqlSafe(look)).fetch_one(&mut *tx).await?;
    // In error nothing is committed, the table of the version included.
    version.map_or(Ok(()), is_known)?;
    sqlx::raw_sql(AssertSqlSafe(create.to_owned())).execute(&mut *tx).await?;
    if version.is_none() {
        let mark = format!("INSERT INTO {table}_schema (version) VALUES ({VERSION})");
        sqlx::query(AssertSqlSafe(mark)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}
