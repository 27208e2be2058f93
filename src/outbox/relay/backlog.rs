//! Measuring what waits in an outbox.

use crate::{
    jitter,
    outbox::{meter::OutboxMeter, table::Table},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// Seldom: what waits is counted row by row.
const EVERY: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Measures for ever. Every relay does, since one that waits for its turn is asked for metrics as well.
pub(super) async fn measure(table: Arc<dyn Table>) {
    let meter = OutboxMeter::new(table.name());
    loop {
        // While the database is away, what was last known is shown.
        if let Ok(Ok(status)) = timeout(ANSWER_WITHIN, table.status()).await {
            meter.shows(&status);
        }
        sleep(jitter::spread(EVERY)).await;
    }
}
