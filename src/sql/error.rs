//! Classification of database errors, and connections that report why they fail.

/// Returns whether a table or column is missing, so the schema is not the one that the statement was written for.
pub(crate) fn is_other_schema(error: &sqlx::Error) -> bool {
    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: undefined table, undefined column.
    const UNDEFINED: [&str; 2] = ["42P01", "42703"];
    error.as_database_error().is_some_and(|error| {
        let is_undefined = error.code().is_some_and(|code| UNDEFINED.contains(&&*code));
        // SQLite has no error code for this.
        is_undefined || error.message().starts_with("no such ") || error.message().contains("has no column")
    })
}

/// Returns whether a statement lost against another transaction and may be repeated at once.
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

    /// Time limit for finding out why there is no connection.
    const PATIENCE: Duration = Duration::from_millis(250);

    /// Takes a connection from the pool. If the pool times out, the error is that of a separate connection attempt.
    pub(crate) async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        match pool.acquire().await {
            Err(Error::PoolTimedOut) => Err(why_unreachable(pool).await.unwrap_or(Error::PoolTimedOut)),
            acquired => acquired,
        }
    }

    /// Begins a transaction, with the errors of [`acquire`].
    pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
        match pool.begin().await {
            Err(Error::PoolTimedOut) => Err(why_unreachable(pool).await.unwrap_or(Error::PoolTimedOut)),
            begun => begun,
        }
    }

    /// Returns why the database accepts no connection, or `None` if it does. A pool retries until its timeout and then
    /// reports only the timeout.
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
