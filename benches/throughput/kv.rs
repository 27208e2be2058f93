//! Consuming with the writes that a store in a key-value bucket needs at least.

use crate::{
    Bench, Failure,
    consume::{Plain, RAW, pulled},
    measure::{Sample, Stopwatch},
};
use async_nats::jetstream::{context::PublishAckFuture, kv, message::PublishMessage};
use futures::StreamExt;
use std::{collections::VecDeque, future::IntoFuture, time::Duration};
use stratt_event_bridge::async_nats;
use uuid::Uuid;

const BUCKET: &str = "RAW";
/// The age limit of the store's bucket.
const MAX_AGE: Duration = Duration::from_hours(30 * 24);
/// A value of the size of the store's records.
const HELD: &str =
    r#"{"v":1,"state":"held","claimant":"00000000-0000-0000-0000-000000000007","attempt":1,"leaseMs":40000}"#;
const SETTLED: &str = r#"{"v":1,"state":"settled","fence":100000}"#;

impl Bench {
    /// Consumes by pulls of 1000, a plain typed parse, two writes of the event's key by compare-and-set, the second
    /// with the revision of the first, and a single ack; so many at once.
    pub(crate) async fn raw_kv_consume(&self, count: usize, in_flight: usize) -> Result<Sample, Failure> {
        let config =
            kv::Config { bucket: BUCKET.into(), history: 1, max_age: MAX_AGE, ..kv::Config::default() };
        self.context.create_or_update_key_value(config).await?;
        let consumer = self.raw_consumer().await?;
        // Each run has keys of its own.
        let run = Uuid::new_v4().simple().to_string();
        let watch = Stopwatch::start();
        let mut messages = pulled(&consumer).await?.take(count);
        let mut ring = VecDeque::with_capacity(in_flight);
        loop {
            while ring.len() < in_flight
                && let Some(message) = messages.next().await
            {
                let message = message?;
                let plain: Plain = serde_json::from_slice(&message.payload)?;
                let subject = format!("$KV.{BUCKET}.{run}.{}", plain.idempotency_key);
                std::hint::black_box(plain);
                let held = self.compare_and_set(subject.clone(), HELD, 0).await?;
                ring.push_back((message, Some(subject), held));
            }
            let Some((message, held, written)) = ring.pop_front() else { break };
            let revision = IntoFuture::into_future(written).await?.sequence;
            match held {
                Some(subject) => {
                    let settled = self.compare_and_set(subject, SETTLED, revision).await?;
                    ring.push_back((message, None, settled));
                }
                None => message.ack().await?,
            }
        }
        let sample = watch.stop(count);
        self.delete(RAW).await?;
        Ok(sample)
    }

    async fn compare_and_set(
        &self,
        subject: String,
        value: &'static str,
        revision: u64,
    ) -> Result<PublishAckFuture, Failure> {
        let message = PublishMessage::build().payload(value.into()).expected_last_subject_sequence(revision);
        Ok(self.context.send_publish(subject, message).await?)
    }
}
