//! In PostgreSQL the version stands in the comment on the table: everybody may read it, without a right to the table.

use super::{MigrateError, VERSION, is_known};
use sqlx::{AssertSqlSafe, PgPool};

/// What the comment begins with, before the version.
const MARK: &str = "stratt-event-bridge schema ";

/// Creates `table` with what belongs to it, unless it is there. One transaction: all of it or nothing.
pub(crate) async fn migrate(pool: &PgPool, table: &str, create: &str) -> Result<(), MigrateError> {
    let mut tx = pool.begin().await?;
    // `CREATE ... IF NOT EXISTS` of two sessions at once fails in one of them: they take turns.
    let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended('stratt migrate {table}', 0))");
    sqlx::query(AssertSqlSafe(lock)).persistent(false).execute(&mut *tx).await?;
    let look = format!(
        "SELECT to_regclass('{table}') IS NOT NULL, obj_description(to_regclass('{table}'), 'pg_class')"
    );
    let (exists, comment): (bool, Option<String>) =
        sqlx::query_as(AssertSqlSafe(look)).persistent(false).fetch_one(&mut *tx).await?;
    if exists {
        let version = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
        return version.map_or(Ok(()), |version| is_known(version.parse().unwrap_or(i64::MAX)));
    }
    let create = format!("{create}\nCOMMENT ON TABLE {table} IS '{MARK}{VERSION}';");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}
