//! Migration in SQLite. The version is in a table of its own, `{table}_schema`.

use crate::sql::{
    render::{render, split},
    schema::{Kind, MigrateError, Part, Schema, occupied::Found},
};
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteConnection};
use std::sync::Arc;

/// The table of the version.
const VERSION: Part = Part::table("_schema", &["version"]);

/// Creates missing parts and upgrades an older table, in one transaction.
pub(crate) async fn migrate(pool: &SqlitePool, schema: Schema<'_>) -> Result<(), MigrateError> {
    let Schema { table, version, create, parts, .. } = schema;
    let parts: Vec<_> = parts.iter().copied().chain([VERSION]).collect();
    let schema = Schema { parts: &parts, ..schema };
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let exists = look(&schema, &mut tx).await?;
    let keep = "CREATE TABLE IF NOT EXISTS {table}_schema (version INTEGER NOT NULL) STRICT";
    sqlx::query(AssertSqlSafe(render(keep, table))).execute(&mut *tx).await?;
    let look = render("SELECT max(version) FROM {table}_schema", table);
    let found: Option<i64> = sqlx::query_scalar(AssertSqlSafe(look)).fetch_one(&mut *tx).await?;
    // On error nothing is committed, not even the table of the version.
    found.map_or(Ok(()), |found| schema.knows(found))?;
    if exists {
        // Not by the version, which may be lost, or belong to a table that was recreated.
        let found = columns(split(table).1, table, &mut tx).await?;
        for column in schema.missing(&found) {
            let add = render("ALTER TABLE {table} ADD COLUMN {column}", table).replace("{column}", column);
            sqlx::query(AssertSqlSafe(add)).execute(&mut *tx).await?;
        }
    }
    sqlx::raw_sql(AssertSqlSafe(create.to_owned())).execute(&mut *tx).await?;
    if found != Some(version) {
        let mark = "DELETE FROM {table}_schema; INSERT INTO {table}_schema (version) VALUES ({version})";
        let mark = render(mark, table).replace("{version}", &version.to_string());
        sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

/// Returns whether the table exists, and fails if the name of a part belongs to something else.
async fn look(schema: &Schema<'_>, connection: &mut SqliteConnection) -> Result<bool, MigrateError> {
    let look = "SELECT type, lower(tbl_name) FROM {schema}sqlite_schema WHERE lower(name) = ?1";
    let look = render(look, schema.table);
    let (_, table) = split(schema.table);
    let mut exists = false;
    for (part, name) in schema.parts.iter().zip(schema.names()) {
        let found = sqlx::query_as(AssertSqlSafe(Arc::clone(&look))).bind(&name);
        let found: Option<(String, String)> = found.fetch_optional(&mut *connection).await?;
        let Some((kind, on)) = found else { continue };
        exists |= part.suffix.is_empty();
        let (is_of_kind, columns) = match part.kind {
            Kind::Table(_) => (kind == "table", columns(&name, schema.table, connection).await?),
            Kind::Index => (kind == "index" && on == table, Vec::new()),
            #[cfg(feature = "postgres")]
            Kind::Sequence => (false, Vec::new()),
        };
        schema.owns(*part, &Found { name, is_of_kind, columns })?;
    }
    Ok(exists)
}

async fn columns(
    name: &str,
    table: &str,
    connection: &mut SqliteConnection,
) -> Result<Vec<String>, sqlx::Error> {
    let database = table.rsplit_once('.').map_or("main", |(database, _)| database);
    let columns = sqlx::query_scalar("SELECT lower(name) FROM pragma_table_info(?1, ?2)");
    columns.bind(name).bind(database).fetch_all(connection).await
}
