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

/// Whether a statement lost against another transaction, and may be run again at once.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    /// Serialization failure, deadlock detected.
    const CONFLICTS: [&str; 2] = ["40001", "40P01"];
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| CONFLICTS.contains(&&*code))
}

#[cfg(feature = "postgres")]
pub(crate) use postgres::{acquire, begin, why_unreachable};

#[cfg(feature = "postgres")]
mod postgres {
    use sqlx::{ConnectOptions, Connection, Error, PgPool, Postgres, Transaction, pool::PoolConnection};
    use std::time::Duration;
    use tokio::time::timeout;

    /// How long it may take to find out why there is no connection.
    const PATIENCE: Duration = Duration::from_millis(250);

    /// Takes a connection of the pool. Where none is to be had in time, the error is that of one which is tried by itself.
    pub(crate) async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        match pool.acquire().await {
            Err(Error::PoolTimedOut) => Err(why_unreachable(pool).await.unwrap_or(Error::PoolTimedOut)),
            acquired => acquired,
        }
    }

    /// Begins a transaction on a connection of [`acquire`].
    pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
        match pool.begin().await {
            Err(Error::PoolTimedOut) => Err(why_unreachable(pool).await.unwrap_or(Error::PoolTimedOut)),
            begun => begun,
        }
    }

    /// Returns why the database takes no connection, if it takes none: a pool tries again for as long as it may, and then
    /// says no more than that it has.
    pub(crate) async fn why_unreachable(pool: &PgPool) -> Option<Error> {
        match timeout(PATIENCE, pool.connect_options().connect()).await.ok()? {
            Err(error) => Some(error),
            Ok(connection) => {
                let _ended = timeout(PATIENCE, connection.close()).await;
                None
            }
        }
    }
}
