//! Publishers that go on until they are stopped.

use crate::{Failure, network::connect, stage::Stage};
use ledger::Journal;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use stratt_event_bridge::{Event, EventBridge, UnitPublished, async_nats::jetstream};
use tokio::task::JoinSet;

const PUBLISHERS: u64 = 4;
/// The mean pause between two events of one publisher.
const PAUSE_MS: u64 = 40;
const UNITS: u64 = 40;

pub struct Publishers {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<Result<Vec<Duration>, Failure>>,
}

struct Publisher {
    number: u64,
    random: fastrand::Rng,
    bridge: EventBridge,
    journal: Journal,
    is_over: Arc<AtomicBool>,
}

impl Publishers {
    pub async fn start(stage: &Stage, seed: u64) -> Result<Self, Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..PUBLISHERS {
            let client = connect(stage.networks().publishers.urls()).await?;
            let publisher = Publisher {
                number,
                random: fastrand::Rng::with_seed(seed.wrapping_add(number)),
                bridge: EventBridge::new(client, "orchestrator-http:soak:0.1.0".parse()?),
                journal: stage.ledger().journal()?,
                is_over: Arc::clone(&is_over),
            };
            tasks.spawn(publisher.run());
        }
        Ok(Self { is_over, tasks })
    }

    /// Stops them, and returns the latency of each acknowledged publish.
    pub async fn stop(mut self) -> Result<Vec<Duration>, Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        while let Some(publisher) = self.tasks.join_next().await {
            latencies.extend(publisher??);
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

impl Publisher {
    async fn run(mut self) -> Result<Vec<Duration>, Failure> {
        let mut latencies = Vec::new();
        let mut count = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            count += 1;
            let event = self.event(count)?;
            self.publish(event.clone(), &mut latencies).await?;
            match self.random.u8(..) {
                // Announced again: dropped by the broker.
                0..8 => self.publish(event, &mut latencies).await?,
                8..10 => self.publish_garbage().await,
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(self.random.u64(..PAUSE_MS * 2))).await;
        }
        Ok(latencies)
    }

    /// Makes a unique event, whose actor decides how its handler behaves.
    fn event(&mut self, count: u64) -> Result<UnitPublished, Failure> {
        let uri = format!("strat://dev/rule/unit-{}@1.0.0", self.random.u64(..UNITS)).parse()?;
        let fingerprint = format!("blake3:{:032x}{count:032x}", self.number).parse()?;
        let event = UnitPublished::new(uri, fingerprint);
        Ok(match self.random.u8(..100) {
            0..2 => event.with_actor("fails once"),
            2 => event.with_actor("fails"),
            3 => event.with_actor("is rejected"),
            4 => event.with_actor("panics once"),
            5 => event.with_actor("hangs once"),
            6..9 => event.with_actor("is slow"),
            _ => event,
        })
    }

    async fn publish(&self, event: UnitPublished, latencies: &mut Vec<Duration>) -> Result<(), Failure> {
        let key = event.idempotency_key();
        self.journal.attempted(&event)?;
        let begun = Instant::now();
        let result = self.bridge.publish(event).await;
        self.journal.published(key, &result)?;
        if result.is_ok() {
            latencies.push(begun.elapsed());
        }
        Ok(())
    }

    /// Publishes a message that is no event. If it arrives, it must end in the dead letters.
    async fn publish_garbage(&self) {
        let context = jetstream::new(self.bridge.client().clone());
        let sending = context.publish("strat.dev.unit.published", "{garbage".into());
        let _arrived_or_not = tokio::time::timeout(Duration::from_secs(1), sending).await;
    }
}
