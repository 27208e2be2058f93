//! Migration in PostgreSQL. The version is in the comment on the table, which can be read without privileges on the
//! table.

use crate::sql::{
    error,
    render::{render, split},
    schema::{Kind, MigrateError, Schema, occupied::Found},
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnection};

/// The beginning of the comment, before the version.
const MARK: &str = "stratt-event-bridge schema ";
/// Limit of the wait for the lock. A change of the table waits for running transactions, and later ones queue behind
/// it: a backup, which may take hours, must not block them all.
const GIVE_UP_AFTER: &str = "SET LOCAL lock_timeout = '3s';";

/// Finds objects by name: $1 the table, $2 the names, $3 the schema if there is one. Parts are in the schema of the
/// table, or where the table would be created.
const LOOK: &str = "
SELECT class.relname::text, class.relkind::text, index.indrelid = to_regclass($1),
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class AS class LEFT JOIN pg_index AS index ON index.indexrelid = class.oid
WHERE class.relname::text = ANY ($2) AND class.relnamespace = coalesce(
    (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1)),
    to_regnamespace(coalesce($3, quote_ident(current_schema())))::oid
)";

/// Selects the time in microseconds.
const START: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Creates missing parts and upgrades an older table, in one transaction.
///
/// It does nothing if nothing is missing, and then needs no privilege to create.
pub(crate) async fn migrate(pool: &PgPool, schema: Schema<'_>) -> Result<(), MigrateError> {
    let Schema { table, version, create, .. } = schema;
    let mut tx = error::begin(pool).await?;
    // Concurrent `CREATE ... IF NOT EXISTS` fails in one of two sessions, so they take turns.
    let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended('stratt migrate {table}', 0))");
    sqlx::query(AssertSqlSafe(lock)).persistent(false).execute(&mut *tx).await?;
    let (found, columns) = look(&schema, &mut tx).await?;
    let quoted = render("{table}", table);
    let comment = sqlx::query_scalar("SELECT obj_description(to_regclass($1), 'pg_class')").bind(&*quoted);
    let comment: Option<String> = comment.persistent(false).fetch_one(&mut *tx).await?;
    let exists = found.first().is_some_and(|found| *found);
    let mark = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
    let known = mark.map_or(1, |version| version.parse().unwrap_or(i64::MAX));
    if exists {
        schema.knows(known)?;
        let is_whole = found.iter().all(|found| *found) && schema.missing(&columns).next().is_none();
        if known == version && is_whole {
            return Ok(());
        }
    }
    let start: i64 = sqlx::query_scalar(START).persistent(false).fetch_one(&mut *tx).await?;
    let create = create.replace("{start}", &start.to_string());
    let add = if exists {
        // The columns exist where only the comment was lost, as in a copy without comments.
        let add = |column| format!("ALTER TABLE {quoted} ADD COLUMN {column};");
        let add: Vec<_> = schema.missing(&columns).map(add).collect();
        format!("{GIVE_UP_AFTER}\n{}", add.join("\n"))
    } else {
        String::new()
    };
    let change = format!("{add}\n{create}\nCOMMENT ON TABLE {quoted} IS '{MARK}{version}';");
    sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Returns for each part whether it exists, with the columns of the first one, and fails if the name of a part belongs
/// to something else.
async fn look(
    schema: &Schema<'_>,
    connection: &mut PgConnection,
) -> Result<(Vec<bool>, Vec<String>), MigrateError> {
    let names = schema.names();
    let place = split(schema.table).0.trim_end_matches('.');
    let rows: Vec<(String, String, Option<bool>, Vec<String>)> = sqlx::query_as(LOOK)
        .bind(&*render("{table}", schema.table))
        .bind(&names)
        .bind((!place.is_empty()).then(|| format!("\"{place}\"")))
        .persistent(false)
        .fetch_all(connection)
        .await?;
    let (mut there, mut columns_of_table) = (Vec::new(), Vec::new());
    for (part, name) in schema.parts.iter().zip(names) {
        let found = rows.iter().find(|(found, ..)| *found == name);
        there.push(found.is_some());
        let Some((_, kind, is_on_table, columns)) = found else { continue };
        let is_of_kind = match part.kind {
            Kind::Table(_) => ["r", "p"].contains(&&**kind),
            Kind::Index => is_on_table.unwrap_or_default(),
            Kind::Sequence => kind == "S",
        };
        if part.suffix.is_empty() {
            columns_of_table.clone_from(columns);
        }
        schema.owns(*part, &Found { name, is_of_kind, columns: columns.clone() })?;
    }
    Ok((there, columns_of_table))
}
