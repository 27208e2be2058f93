//! The cost of the same events for the server and its client, without parsing and dedupe.

use crate::{Bench, Failure, bench::domain};
use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use std::time::{Duration, Instant};
use stratt_event_bridge::{Feed, async_nats};

const DURABLE: &str = "raw";

/// Pulls and acknowledges them all; in microseconds for each event. No named domain is all.
pub(crate) async fn drain(bench: &Bench, events: usize, named_domains: usize) -> Result<f64, Failure> {
    let filter = |domain: &str| format!("strat.{domain}.unit.published");
    let mut filters: Vec<_> = (0..named_domains).map(|number| filter(&domain(number))).collect();
    if filters.is_empty() {
        filters.push(filter("*"));
    }
    let config = pull::Config {
        durable_name: Some(DURABLE.into()),
        max_ack_pending: 10_000,
        filter_subjects: filters,
        ..pull::Config::default()
    };
    let stream = bench.context.get_stream(Feed::Strat.stream()).await?;
    let consumer = stream.create_consumer(config).await?;
    let begun = Instant::now();
    // The client may stall until a pull expires.
    let pulls = consumer.stream().max_messages_per_batch(1000).expires(Duration::from_secs(5));
    let mut messages = pulls.messages().await?.take(events);
    while let Some(message) = messages.next().await {
        message?.ack().await?;
    }
    let took = begun.elapsed();
    stream.delete_consumer(DURABLE).await?;
    Ok(took.as_secs_f64() * 1e6 / events as f64)
}
