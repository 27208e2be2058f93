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
use stratt_event_bridge::{
    Event, EventBridge, UnitPublished, async_nats::jetstream, dead_letter::DeadLetterReason,
};
use tokio::task::JoinSet;

const PUBLISHERS: u64 = 4;
/// The mean pause between two events of one publisher.
const PAUSE_MS: u64 = 40;
/// The mean pause once nothing bad is published any more.
const CALM_PAUSE_MS: u64 = 2000;
const UNITS: u64 = 40;
/// The first publisher makes one of so many events kill its process: about one a minute, each of them eight times.
const ONE_KILLS_OF: u64 = 1000;
/// The same for consumers that keep the order: one process handles all, and the unit waits until it is over.
const ONE_KILLS_OF_ORDERED: u64 = 4000;
/// The first event that kills its process.
const FIRST_KILLS: u64 = 100;

pub struct Publishers {
    is_calm: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<Result<Vec<Duration>, Failure>>,
}

struct Publisher {
    number: u64,
    one_kills_of: u64,
    random: fastrand::Rng,
    bridge: EventBridge,
    journal: Journal,
    is_calm: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Publishers {
    pub async fn start(stage: &Stage, seed: u64) -> Result<Self, Failure> {
        let [is_calm, is_over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for number in 0..PUBLISHERS {
            let client = connect(stage.networks().publishers.urls()).await?;
            let publisher = Publisher {
                number,
                one_kills_of: if stage.is_ordered() { ONE_KILLS_OF_ORDERED } else { ONE_KILLS_OF },
                random: fastrand::Rng::with_seed(seed.wrapping_add(number)),
                bridge: EventBridge::new(client, "orchestrator-http:soak:0.1.0".parse()?),
                journal: stage.ledger().journal()?,
                is_calm: Arc::clone(&is_calm),
                is_over: Arc::clone(&is_over),
            };
            tasks.spawn(publisher.run());
        }
        Ok(Self { is_calm, is_over, tasks })
    }

    /// Lets them publish a little from now on, and nothing that is bad.
    pub fn calm(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
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
            if self.is_calm.load(Ordering::Relaxed) {
                self.publish(event, &mut latencies).await?;
                tokio::time::sleep(Duration::from_millis(self.random.u64(..CALM_PAUSE_MS * 2))).await;
                continue;
            }
            let actor = self.actor(count);
            let event = if let Some(actor) = actor { event.with_actor(actor) } else { event };
            if let Some(reason) = actor.and_then(fate) {
                self.journal.condemned(&event, reason)?;
            }
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

    /// Makes a unique event.
    fn event(&mut self, count: u64) -> Result<UnitPublished, Failure> {
        let uri = format!("strat://dev/rule/unit-{}@1.0.0", self.random.u64(..UNITS)).parse()?;
        let fingerprint = format!("blake3:{:032x}{count:032x}", self.number).parse()?;
        Ok(UnitPublished::new(uri, fingerprint))
    }

    /// Returns the actor of an event, who decides how its handler behaves; `None` is handled at once.
    fn actor(&mut self, count: u64) -> Option<&'static str> {
        if self.number == 0 && count % self.one_kills_of == FIRST_KILLS {
            return Some("kills its process");
        }
        match self.random.u16(..1000) {
            0..20 => Some("fails once"),
            20..23 => Some("fails"),
            23..33 => Some("is rejected"),
            33..43 => Some("panics once"),
            43 => Some("hangs once"),
            44..47 => Some("is long"),
            47..77 => Some("is slow"),
            _ => None,
        }
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

/// Returns the reason to dead-letter the events of this actor, if no attempt can handle them.
fn fate(actor: &'static str) -> Option<DeadLetterReason> {
    match actor {
        "fails" | "kills its process" => Some(DeadLetterReason::Exhausted),
        "is rejected" => Some(DeadLetterReason::Rejected),
        _ => None,
    }
}
