//! In PostgreSQL the version stands in the comment on the table: everybody may read it, without a right to the table.

use crate::sql::{
    error,
    schema::{Kind, MigrateError, Schema, occupied::Found},
    table_name::{quoted, split},
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnection};

/// What the comment begins with, before the version.
const MARK: &str = "stratt-event-bridge schema ";
/// A change of the table waits until those who use it have ended, and all who come meanwhile wait behind it. A backup
/// may take hours, and nobody is to wait for one.
const GIVE_UP_AFTER: &str = "SET LOCAL lock_timeout = '3s';";

/// What there is by some names: $1 the table, $2 the names, $3 the schema if there is one. Parts are made where the table is,
/// else where it would be made.
const LOOK: &str = "
SELECT class.relname::text, class.relkind::text, index.indrelid = to_regclass($1),
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class AS class LEFT JOIN pg_index AS index ON index.indexrelid = class.oid
WHERE class.relname::text = ANY ($2) AND class.relnamespace = coalesce(
    (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1)),
    to_regnamespace(coalesce($3, quote_ident(current_schema())))::oid
)";

/// The time, in microseconds.
const START: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Creates what is missing of a table and of what belongs to it, and adds what is missing in one that is older. One
/// transaction: all of it or nothing.
///
/// Where nothing is missing nothing is done, and no right to create is needed.
pub(crate) async fn migrate(pool: &PgPool, schema: Schema<'_>) -> Result<(), MigrateError> {
    let Schema { table, version, create, added, .. } = schema;
    let mut tx = error::begin(pool).await?;
    // `CREATE ... IF NOT EXISTS` of two sessions at once fails in one of them: they take turns.
    let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended('stratt migrate {table}', 0))");
    sqlx::query(AssertSqlSafe(lock)).persistent(false).execute(&mut *tx).await?;
    let found = look(&schema, &mut tx).await?;
    let quoted = quoted(table);
    let comment = sqlx::query_scalar("SELECT obj_description(to_regclass($1), 'pg_class')").bind(&quoted);
    let comment: Option<String> = comment.persistent(false).fetch_one(&mut *tx).await?;
    let exists = found.first().is_some_and(|found| *found);
    let mark = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
    let known = mark.map_or(1, |version| version.parse().unwrap_or(i64::MAX));
    if exists {
        schema.knows(known)?;
        if known == version && found.iter().all(|found| *found) {
            return Ok(());
        }
    }
    let start: i64 = sqlx::query_scalar(START).persistent(false).fetch_one(&mut *tx).await?;
    let create = create.replace("{start}", &start.to_string());
    let add = if exists {
        // They are there where only the comment was lost, as in a copy without comments.
        let add = |column| format!("ALTER TABLE {quoted} ADD COLUMN IF NOT EXISTS {column};");
        let add: Vec<_> = added.iter().map(add).collect();
        format!("{GIVE_UP_AFTER}\n{}", add.join("\n"))
    } else {
        String::new()
    };
    let change = format!("{add}\n{create}\nCOMMENT ON TABLE {quoted} IS '{MARK}{version}';");
    sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Returns for each part whether it is there, and fails if it is something else.
async fn look(schema: &Schema<'_>, connection: &mut PgConnection) -> Result<Vec<bool>, MigrateError> {
    let names = schema.names();
    let place = split(schema.table).0.trim_end_matches('.');
    let rows: Vec<(String, String, Option<bool>, Vec<String>)> = sqlx::query_as(LOOK)
        .bind(quoted(schema.table))
        .bind(&names)
        .bind((!place.is_empty()).then(|| format!("\"{place}\"")))
        .persistent(false)
        .fetch_all(connection)
        .await?;
    let mut there = Vec::new();
    for (part, name) in schema.parts.iter().zip(names) {
        let found = rows.iter().find(|(found, ..)| *found == name);
        there.push(found.is_some());
        let Some((_, kind, is_on_the_table, columns)) = found else { continue };
        let is_of_kind = match part.kind {
            Kind::Table(_) => ["r", "p"].contains(&&**kind),
            Kind::Index => is_on_the_table.unwrap_or_default(),
            Kind::Sequence => kind == "S",
        };
        schema.owns(*part, &Found { name, is_of_kind, columns: columns.clone() })?;
    }
    Ok(there)
}
