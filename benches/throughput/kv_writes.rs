//! The writes that a store in a key-value bucket needs at least.

use crate::{
    Bench, Failure,
    measure::{Sample, Stopwatch},
};
use async_nats::jetstream::{context::PublishAckFuture, kv, message::PublishMessage};
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
    /// Each key is written twice, by compare-and-set, the second time with the revision of the first; so many keys at
    /// once.
    pub(crate) async fn raw_kv_writes(&self, count: usize, in_flight: usize) -> Result<Sample, Failure> {
        let config =
            kv::Config { bucket: BUCKET.into(), history: 1, max_age: MAX_AGE, ..kv::Config::default() };
        self.context.create_or_update_key_value(config).await?;
        let subject = |_| format!("$KV.{BUCKET}.bridge-64.{0}{0}", Uuid::new_v4().simple());
        let subjects: Vec<_> = (0..count).map(subject).collect();
        let watch = Stopwatch::start();
        let (mut subjects, mut ring) = (subjects.into_iter(), VecDeque::with_capacity(in_flight));
        loop {
            while ring.len() < in_flight
                && let Some(subject) = subjects.next()
            {
                let ack = self.compare_and_set(subject.clone(), HELD, 0).await?;
                ring.push_back((Some(subject), ack));
            }
            let Some((held, ack)) = ring.pop_front() else { break };
            let revision = IntoFuture::into_future(ack).await?.sequence;
            if let Some(subject) = held {
                ring.push_back((None, self.compare_and_set(subject, SETTLED, revision).await?));
            }
        }
        Ok(watch.stop(count))
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
