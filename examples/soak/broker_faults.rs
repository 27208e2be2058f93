//! The faults of the servers.

use crate::{Failure, report::Injected};
use std::time::{Duration, Instant};
use stratt_event_bridge::{
    async_nats::jetstream,
    testing::NatsCluster,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};
use tokio::time::sleep;

const STREAMS: [&str; 4] = [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM, "KV_STRATT_DEDUPE"];

pub struct BrokerFaults {
    random: fastrand::Rng,
    injected: Vec<Injected>,
}

impl BrokerFaults {
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed ^ 0xB0), injected: Vec::new() }
    }

    pub fn injected(&self) -> Vec<Injected> {
        self.injected.clone()
    }

    /// Injects one fault after the other, each healed before the next; either one server is down, or all of them.
    pub async fn inject(&mut self, cluster: &mut NatsCluster, end: Instant) -> Result<(), Failure> {
        loop {
            sleep(Duration::from_millis(self.random.u64(2000..8000))).await;
            if Instant::now() >= end {
                return Ok(());
            }
            let what = self.next(cluster).await?;
            self.injected.push(Injected::new(what));
            for stream in STREAMS {
                cluster.wait_until_healthy(stream).await?;
            }
        }
    }

    async fn next(&mut self, cluster: &mut NatsCluster) -> Result<&'static str, Failure> {
        let stream = STREAMS.get(self.random.usize(..STREAMS.len())).copied().unwrap_or(EVENT_STREAM);
        let leader = cluster.stream_leader(stream).await?;
        let any = self.random.usize(..cluster.nodes().len());
        let away = Duration::from_millis(self.random.u64(500..9000));
        let what = match self.random.u8(..10) {
            0..3 => {
                kill(cluster, leader);
                sleep(away).await;
                "leader killed"
            }
            3 => {
                kill(cluster, any);
                sleep(away).await;
                "server killed"
            }
            4..6 => {
                if let Some(node) = cluster.nodes().get(leader) {
                    node.pause()?;
                    sleep(away).await;
                    node.resume()?;
                }
                "leader frozen"
            }
            6 => {
                if let Some(node) = cluster.nodes_mut().get_mut(any) {
                    node.lame_duck().await?;
                }
                "server retired"
            }
            7 => {
                cluster.nodes_mut().iter_mut().for_each(stratt_event_bridge::testing::NatsServer::kill);
                sleep(away / 3).await;
                "all servers killed"
            }
            _ => {
                let context = jetstream::new(cluster.connect().await?);
                let request = context.request(format!("STREAM.LEADER.STEPDOWN.{stream}"), &());
                let _answered: serde_json::Value = request.await?;
                "leader stepped down"
            }
        };
        cluster.restart_killed().await?;
        Ok(what)
    }
}

fn kill(cluster: &mut NatsCluster, index: usize) {
    if let Some(node) = cluster.nodes_mut().get_mut(index) {
        node.kill();
    }
}
