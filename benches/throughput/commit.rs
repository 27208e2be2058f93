//! One transaction in PostgreSQL that makes the effects of a batch and settles its events.

use sqlx::PgPool;
use stratt_event_bridge::{Delivery, HandlerError, UnitPublished, dedupe::PostgresStore};

pub(crate) async fn commit(
    batch: &[Delivery<UnitPublished>],
    pool: &PgPool,
    store: &PostgresStore,
) -> Result<(), HandlerError> {
    let keys: Vec<_> = batch.iter().map(|delivery| delivery.slot().key().to_string()).collect();
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO effects SELECT unnest($1::text[])").bind(keys).execute(&mut *tx).await?;
    store.settle_all_in(batch, &mut tx).await?;
    tx.commit().await?;
    Ok(())
}
