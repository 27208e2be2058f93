//! In PostgreSQL the version stands in the comment on the table: everybody may read it, without a right to the table.

use super::{MigrateError, Schema};
use sqlx::{AssertSqlSafe, PgPool};

/// What the comment begins with, before the version.
const MARK: &str = "stratt-event-bridge schema ";
/// A change of the table waits until those who use it have ended, and all who come meanwhile wait behind it. A backup
/// may take hours, and nobody is to wait for one.
const GIVE_UP_AFTER: &str = "SET LOCAL lock_timeout = '3s';";

/// Creates a table with what belongs to it, or adds what is missing in one that is older. One transaction: all of it or
/// nothing.
pub(crate) async fn migrate(pool: &PgPool, schema: Schema<'_>) -> Result<(), MigrateError> {
    let Schema { table, version, create, added } = schema;
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
        let mark = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
        let found = mark.map_or(1, |version| version.parse().unwrap_or(i64::MAX));
        schema.knows(found)?;
        if found == version {
            return Ok(());
        }
    }
    let before = if exists { GIVE_UP_AFTER } else { create };
    // They are there where only the comment was lost, as in a copy without comments.
    let add = |column| format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} text;");
    let add: Vec<_> = added.iter().map(add).collect();
    let change = format!("{before}\n{}\nCOMMENT ON TABLE {table} IS '{MARK}{version}';", add.join("\n"));
    sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}
