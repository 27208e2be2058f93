//! Periodic measurement of an outbox, for metrics.

use crate::{
    jitter,
    outbox::{meter::OutboxMeter, table::Table},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// Interval of the measurement, which counts row by row.
const EVERY: Duration = Duration::from_secs(10);
/// Time limit of a measurement.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Measures forever. Standby relays measure too, since their metrics are scraped as well.
pub(super) async fn measure(table: Arc<dyn Table>) {
    let meter = OutboxMeter::new(table.name());
    loop {
        // While the database is down, the gauges keep their last values.
        if let Ok(Ok(status)) = timeout(ANSWER_WITHIN, table.status()).await {
            meter.shows(&status);
        }
        sleep(jitter::spread(EVERY)).await;
    }
}
