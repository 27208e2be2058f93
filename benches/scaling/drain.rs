//! Consuming all that the stream holds.

use crate::{Bench, Failure, bench::domain, cpu_time::cpu_time};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use stratt_event_bridge::{
    ConsumerOptions, Delivery, DurableConsumer, Feed, UnitPublished, dedupe::MemoryStore,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DURABLE: &str = "scaling";

/// The settings of one drain of the stream, with dedupe in memory.
pub(crate) struct Drain {
    pub(crate) events: usize,
    pub(crate) consumers: usize,
    /// The number of domains that the consumers name; none is all.
    pub(crate) named_domains: usize,
    /// The number of handlers that may run at once.
    pub(crate) max_in_flight: usize,
    /// The number of messages that may be held.
    pub(crate) max_prefetch: usize,
}

/// For each event, in microseconds.
pub(crate) struct Cost {
    pub(crate) time: f64,
    pub(crate) client_cpu: f64,
}

impl Drain {
    /// Returns a drain by one consumer of all domains that holds no more than may run.
    pub(crate) fn of(events: usize) -> Self {
        Self { events, consumers: 1, named_domains: 0, max_in_flight: 1024, max_prefetch: 1024 }
    }

    pub(crate) async fn run(&self, bench: &Bench) -> Result<Cost, Failure> {
        let store = Arc::new(MemoryStore::with_capacity(self.events));
        let (handled, all_handled) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let mut running = JoinSet::new();
        let mut consumers = Vec::new();
        for _ in 0..self.consumers {
            consumers.push(self.consumer(bench, &store, &handled, &all_handled).await?);
        }
        let (begun, cpu) = (Instant::now(), cpu_time());
        for consumer in consumers {
            running.spawn(consumer.run(all_handled.clone().cancelled_owned()));
        }
        let mut sum = 0;
        while let Some(summary) = running.join_next().await {
            sum += summary??.handled;
        }
        let (took, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
        assert_eq!(sum, u64::try_from(self.events)?);
        let stream = bench.context.get_stream(Feed::Strat.stream()).await?;
        stream.delete_consumer(DURABLE).await?;
        let each = 1e6 / self.events as f64;
        Ok(Cost { time: took.as_secs_f64() * each, client_cpu: cpu.as_secs_f64() * each })
    }

    async fn consumer(
        &self,
        bench: &Bench,
        store: &Arc<MemoryStore>,
        handled: &Arc<AtomicU64>,
        all_handled: &CancellationToken,
    ) -> Result<DurableConsumer, Failure> {
        let (handled, last) = (Arc::clone(handled), all_handled.clone());
        let options = ConsumerOptions::default()
            .with_max_in_flight(self.max_in_flight)
            .with_max_prefetch(self.max_prefetch);
        let expected = u64::try_from(self.events)?;
        let mut builder =
            bench.bridge.consumer(DURABLE, Arc::<MemoryStore>::clone(store)).options(options).on(
                move |_: Delivery<UnitPublished>| {
                    if handled.fetch_add(1, Ordering::Relaxed) + 1 == expected {
                        last.cancel();
                    }
                    std::future::ready(Ok(()))
                },
            );
        for number in 0..self.named_domains {
            builder = builder.domain(domain(number).parse()?);
        }
        Ok(builder.build().await?)
    }
}
