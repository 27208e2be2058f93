//! Publishing: one by one, pipelined, in batches.

use crate::{
    BATCH, Bench, Failure,
    measure::{Sample, Stopwatch},
};
use async_nats::jetstream::{Context, message::PublishMessage};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::{collections::VecDeque, future::IntoFuture, time::Instant};
use stratt_event_bridge::{Envelope, EventBridge, UnitPublished, async_nats};

const SUBJECT: &str = "strat.dev.unit.published";

impl Bench {
    /// Returns events as raw use has them: bytes and their message id.
    pub(crate) fn messages(&self, count: usize) -> Result<Vec<(String, Bytes)>, Failure> {
        let envelopes = self.envelopes(count)?.into_iter();
        envelopes.map(|e| Ok((e.idempotency_key().to_string(), e.encode()?.into()))).collect()
    }

    pub(crate) async fn raw_single(&self, count: usize) -> Result<Sample, Failure> {
        let messages = self.messages(count)?;
        let mut times = Vec::with_capacity(count);
        let watch = Stopwatch::start();
        for (id, payload) in messages {
            let begun = Instant::now();
            let message = PublishMessage::build().payload(payload).message_id(id);
            self.context.send_publish(SUBJECT, message).await?.await?;
            times.push(begun.elapsed());
        }
        Ok(watch.stop(count).with_times(times))
    }

    pub(crate) async fn bridge_single(&self, count: usize) -> Result<Sample, Failure> {
        let envelopes = self.envelopes(count)?;
        let mut times = Vec::with_capacity(count);
        let watch = Stopwatch::start();
        for envelope in envelopes {
            let begun = Instant::now();
            self.bridge.publish_envelope(&envelope).await?;
            times.push(begun.elapsed());
        }
        Ok(watch.stop(count).with_times(times))
    }

    pub(crate) async fn raw_pipelined(&self, count: usize, in_flight: usize) -> Result<Sample, Failure> {
        let messages = self.messages(count)?;
        let watch = Stopwatch::start();
        publish_in_ring(&self.context, messages, in_flight).await?;
        Ok(watch.stop(count))
    }

    pub(crate) async fn bridge_pipelined(&self, count: usize, in_flight: usize) -> Result<Sample, Failure> {
        let envelopes = self.envelopes(count)?;
        let bridge = self.bridge_with(in_flight);
        let watch = Stopwatch::start();
        publish_all(&bridge, envelopes).await?;
        Ok(watch.stop(count))
    }

    /// One batch after the other.
    pub(crate) async fn batches(&self, count: usize) -> Result<Sample, Failure> {
        let envelopes = self.envelopes(count)?;
        let watch = Stopwatch::start();
        for batch in envelopes.chunks(BATCH) {
            self.bridge.publish_batch(batch).await?;
        }
        Ok(watch.stop(count))
    }
}

/// A ring of ack futures, the best raw way known.
pub(crate) async fn publish_in_ring(
    context: &Context,
    messages: Vec<(String, Bytes)>,
    in_flight: usize,
) -> Result<(), Failure> {
    let mut ring = VecDeque::with_capacity(in_flight);
    for (id, payload) in messages {
        if ring.len() == in_flight
            && let Some(oldest) = ring.pop_front()
        {
            IntoFuture::into_future(oldest).await?;
        }
        let message = PublishMessage::build().payload(payload).message_id(id);
        ring.push_back(context.send_publish(SUBJECT, message).await?);
    }
    for ack in ring {
        ack.await?;
    }
    Ok(())
}

pub(crate) async fn publish_all(
    bridge: &EventBridge,
    envelopes: Vec<Envelope<UnitPublished>>,
) -> Result<(), Failure> {
    let mut receipts = bridge.publish_all(stream::iter(envelopes));
    while let Some(receipt) = receipts.next().await {
        receipt?;
    }
    Ok(())
}
