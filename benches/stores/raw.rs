//! The same databases without the library.

use crate::Failure;
use futures::{StreamExt, TryStreamExt, stream};
use redis::aio::ConnectionManager;
use sqlx::PgPool;
use std::time::Instant;
use uuid::Uuid;

/// Inserts one row per statement over eight connections, and returns the rows per second.
pub(crate) async fn insert(pool: &PgPool, count: usize) -> Result<f64, Failure> {
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|_| async {
            let insert = sqlx::query("INSERT INTO raw VALUES ($1)").bind(Uuid::new_v4().to_string());
            insert.execute(pool).await.map(|_| ())
        })
        .buffer_unordered(8)
        .try_collect::<()>()
        .await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Sets keys with this many commands in flight, and returns the keys per second.
pub(crate) async fn set(redis: &ConnectionManager, count: usize, in_flight: usize) -> Result<f64, Failure> {
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|_| async { command().query_async::<()>(&mut redis.clone()).await })
        .buffer_unordered(in_flight)
        .try_collect::<()>()
        .await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Sets keys in pipelines of this size, and returns the keys per second.
pub(crate) async fn set_in_pipelines(
    redis: &ConnectionManager,
    count: usize,
    size: usize,
) -> Result<f64, Failure> {
    let begun = Instant::now();
    for _ in 0..count / size {
        let mut pipeline = redis::pipe();
        for _ in 0..size {
            pipeline.add_command(command());
        }
        pipeline.query_async::<Vec<redis::Value>>(&mut redis.clone()).await?;
    }
    Ok((count / size * size) as f64 / begun.elapsed().as_secs_f64())
}

fn command() -> redis::Cmd {
    let mut command = redis::cmd("SET");
    let key = format!("raw:{}", Uuid::new_v4().simple());
    command.arg(key).arg("1 held").arg("NX").arg("PX").arg(2_592_000_000_u64);
    command
}
