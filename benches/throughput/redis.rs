//! Consuming with the least that dedupe in Redis takes: one write for each event.

use crate::{
    Bench, Failure,
    consume::{Plain, RAW, pulled},
    measure::{Sample, Stopwatch},
};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

/// The retention of the store, in seconds.
const KEPT: u64 = 30 * 24 * 60 * 60;

impl Bench {
    /// Consumes by pulls of 1000, a plain typed parse, one `SET` of the event's key if it is not there, and a single
    /// ack; so many at once.
    pub(crate) async fn raw_redis_consume(
        &self,
        url: &str,
        count: usize,
        in_flight: usize,
    ) -> Result<Sample, Failure> {
        let connection = redis::Client::open(url)?.get_connection_manager().await?;
        let consumer = self.raw_consumer().await?;
        // Each run has keys of its own.
        let run = Uuid::new_v4().simple().to_string();
        let watch = Stopwatch::start();
        let messages = pulled(&consumer).await?.take(count).map_err(Failure::from);
        let handled = messages.map_ok(|message| {
            let (mut connection, run) = (connection.clone(), &run);
            async move {
                let plain: Plain = serde_json::from_slice(&message.payload)?;
                let mut set = redis::cmd("SET");
                set.arg(format!("{run}:{}", plain.idempotency_key)).arg(1).arg("NX").arg("EX").arg(KEPT);
                std::hint::black_box(plain);
                let _was_new: Option<String> = set.query_async(&mut connection).await?;
                message.ack().await
            }
        });
        handled.try_buffer_unordered(in_flight).try_collect::<()>().await?;
        let sample = watch.stop(count);
        self.delete(RAW).await?;
        Ok(sample)
    }
}
