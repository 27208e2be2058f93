//! Reading dead letters in groups, and redriving a group.

use crate::{
    Bench, Failure,
    measure::{Sample, Stopwatch},
};
use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use stratt_event_bridge::{
    Delivery, Envelope, Feed, UnitPublished, async_nats,
    dead_letter::{DeadLetterFilter, GroupRedriveOptions},
    dedupe::MemoryStore,
    topology::DEAD_LETTER_STREAM,
};
use tokio_util::sync::CancellationToken;

const CONSUMER: &str = "desk";
const CAUSES: [&str; 3] = ["row {} is locked", "no route to host 10.0.0.{}", "timed out after {} s"];

impl Bench {
    /// Stores dead letters of three causes.
    pub(crate) async fn store_letters(&self, envelopes: Vec<Envelope<UnitPublished>>) -> Result<(), Failure> {
        self.context.get_stream(DEAD_LETTER_STREAM).await?.purge().await?;
        let stored = stream::iter(envelopes.into_iter().enumerate()).map(|(number, envelope)| async move {
            let cause = CAUSES.get(number % CAUSES.len()).copied().unwrap_or_default();
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("Consumer", CONSUMER),
                ("Reason", "exhausted"),
                ("Error", &*cause.replace("{}", &number.to_string())),
                ("Stream", Feed::Strat.stream()),
                ("Sequence", &*number.to_string()),
                ("Subject", &*envelope.subject()),
                ("Time", "2026-03-31T10:15:00.000Z"),
            ] {
                headers.insert(format!("Strat-Dead-Letter-{name}"), value);
            }
            let subject = format!("stratt.dlq.{CONSUMER}.{}.{}", envelope.domain(), envelope.event_type());
            let message = PublishMessage::build().headers(headers).payload(envelope.encode()?.into());
            self.context.send_publish(subject, message).await?.await?;
            Ok::<_, Failure>(())
        });
        stored.buffer_unordered(1000).try_collect().await
    }

    /// Reads them with a request each.
    pub(crate) async fn raw_read_letters(&self, count: usize) -> Result<Sample, Failure> {
        let stream = self.context.get_stream(DEAD_LETTER_STREAM).await?;
        let mut next = stream.cached_info().state.first_sequence;
        let begun = Stopwatch::start();
        for _ in 0..count {
            let request = stream.raw_message_builder().sequence(next).next_by_subject("stratt.dlq.*.*.>");
            next = request.send().await?.sequence + 1;
        }
        Ok(begun.stop(count))
    }

    pub(crate) async fn bridge_groups(&self, count: usize) -> Result<Sample, Failure> {
        let begun = Stopwatch::start();
        let groups = self.bridge.dead_letters().groups(DeadLetterFilter::default()).await?;
        let sample = begun.stop(count);
        assert_eq!(groups.len(), CAUSES.len());
        Ok(sample)
    }

    /// Redrives one group, without a pause, to a consumer that handles all.
    pub(crate) async fn bridge_redrive(&self) -> Result<Sample, Failure> {
        let dead_letters = self.bridge.dead_letters();
        let groups = dead_letters.groups(DeadLetterFilter::default()).await?;
        let group = groups.first().ok_or("no dead letters")?;
        let consumer = self.bridge.consumer(CONSUMER, Arc::new(MemoryStore::new()));
        let consumer = consumer.on(|_: Delivery<UnitPublished>| std::future::ready(Ok(()))).build().await?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(consumer.run(stop.clone().cancelled_owned()));
        let options = GroupRedriveOptions::default().with_interval(std::time::Duration::ZERO);
        let begun = Stopwatch::start();
        let redriven: Vec<_> = dead_letters.redrive_group(group, options).await?.try_collect().await?;
        let sample = begun.stop(redriven.len());
        stop.cancel();
        running.await??;
        self.delete(CONSUMER).await?;
        Ok(sample)
    }
}
