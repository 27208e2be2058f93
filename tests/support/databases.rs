use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use std::{path::Path, sync::OnceLock};
use stratt_event_bridge::testing::Postgres;
use tempfile::TempDir;

/// Returns the URL of an empty database of the PostgreSQL that all tests share.
pub async fn database() -> String {
    Postgres::shared().await.unwrap().database().await.unwrap()
}

/// Returns a pool on a new file, in WAL mode.
pub async fn sqlite_pool() -> SqlitePool {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    sqlite_pool_on(&folder.path().join(format!("{}.db", uuid::Uuid::new_v4()))).await
}

pub async fn sqlite_pool_on(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap()
}
