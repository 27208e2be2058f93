//! The faults of the consumers, of what they depend on, and of the networks of both sides.

use crate::{Failure, children::Children, dependency::Dependency, report::Injected, stage::Networks};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The interval at which ended consumers are looked for.
const LOOK: Duration = Duration::from_millis(200);

pub struct ConsumerFaults {
    random: fastrand::Rng,
    injected: Vec<Injected>,
}

impl ConsumerFaults {
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed ^ 0xC0), injected: Vec::new() }
    }

    pub fn injected(&self) -> Vec<Injected> {
        self.injected.clone()
    }

    /// Injects the faults of the consumers, and independently of them those of their dependency.
    pub async fn inject(
        &mut self,
        networks: &Networks,
        children: &mut Children,
        dependency: &Dependency,
        end: Instant,
    ) -> Result<(), Failure> {
        let mut random = self.random.fork();
        let (others, away) =
            tokio::join!(self.disturb(networks, children, end), dependency.fail(&mut random, end));
        self.injected.extend(away?);
        others
    }

    /// Injects one fault after the other, independently of those of the servers.
    async fn disturb(
        &mut self,
        networks: &Networks,
        children: &mut Children,
        end: Instant,
    ) -> Result<(), Failure> {
        loop {
            let next = Instant::now() + Duration::from_millis(self.random.u64(3000..10_000));
            while Instant::now() < next {
                sleep(LOOK).await;
                children.restart_ended();
            }
            if Instant::now() >= end {
                return Ok(());
            }
            let what = self.next(networks, children).await?;
            self.injected.push(Injected::new(what));
        }
    }

    async fn next(&mut self, networks: &Networks, children: &mut Children) -> Result<&'static str, Failure> {
        let any = children.any(&mut self.random);
        let length = Duration::from_millis(self.random.u64(500..6000));
        Ok(match self.random.u8(..10) {
            0..3 => {
                children.kill(any)?;
                "consumer killed"
            }
            3..5 => {
                // For longer than its lease: others continue its work, and it resumes with stale fences.
                children.signal(any, "-STOP")?;
                sleep(Duration::from_secs(5) + length / 2).await;
                children.signal(any, "-CONT")?;
                "consumer frozen"
            }
            5 => {
                children.stop_one(any).await?;
                "consumer stopped"
            }
            6..8 => {
                let what = networks.consumers.disturb(&mut self.random);
                sleep(length).await;
                networks.consumers.heal();
                tracing::info!(what, "network of the consumers");
                "consumers' network failed"
            }
            _ => {
                let what = networks.publishers.disturb(&mut self.random);
                sleep(length).await;
                networks.publishers.heal();
                tracing::info!(what, "network of the publishers");
                "publishers' network failed"
            }
        })
    }
}
