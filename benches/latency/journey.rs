//! The journeys of events from their publisher to their handler.

use crate::Failure;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, EventBridge, Feed, UnitPublished, async_nats, dedupe::MemoryStore, topology::Topology,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};
use uuid::Uuid;

const EVERY: Duration = Duration::from_millis(5);
/// The first events, which find the consumer still starting, are not measured.
const WARM_UP: usize = 20;

pub(crate) struct Journeys {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
}

impl Journeys {
    pub(crate) async fn measure(
        client: &async_nats::Client,
        replicas: usize,
        feed: Feed,
        events: usize,
    ) -> Result<Self, Failure> {
        let bridge = EventBridge::new(client.clone(), "orchestrator-http:publisher:1.4.0".parse()?);
        bridge.provision(&Topology::default().with_replicas(replicas)).await?;
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let consumer = bridge
            .consumer(format!("latency-{feed}"), Arc::new(MemoryStore::new()))
            .feed(feed)
            .on(move |_: Delivery<UnitPublished>| {
                let is_awaited = arrived.send(Instant::now());
                async move { Ok(is_awaited?) }
            })
            .build()
            .await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let consuming = tokio::spawn(consumer.run(async move { drop(stopped.await) }));
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut times = Vec::with_capacity(events);
        for number in 0..events + WARM_UP {
            ticks.tick().await;
            let event = event(number)?;
            let begun = Instant::now();
            bridge.publish(event).await?;
            let arrival = arrivals.recv().await.ok_or("the consumer has ended")?;
            times.push(arrival.saturating_duration_since(begun));
        }
        drop(stop);
        consuming.await??;
        times.drain(..WARM_UP);
        Self::of(times).ok_or_else(|| "no event".into())
    }

    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        Some(Self { p50: at(50)?, p99: at(99)?, longest: *times.last()? })
    }
}

/// Each is of a unit of its own, so that none waits for another.
fn event(number: usize) -> Result<UnitPublished, Failure> {
    let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse()?;
    Ok(UnitPublished::new(format!("strat://dev/rule/unit-{number}@1.0.0").parse()?, fingerprint))
}
