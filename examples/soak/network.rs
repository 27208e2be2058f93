//! The network between one side and all servers.

use crate::Failure;
use std::time::Duration;
use stratt_event_bridge::{
    async_nats::{Client, ConnectOptions},
    testing::{Direction, FaultProxy, NatsCluster},
};

/// One proxy for each server.
#[derive(Debug)]
pub struct Network {
    proxies: Vec<FaultProxy>,
}

impl Network {
    pub async fn to(cluster: &NatsCluster) -> Result<Self, Failure> {
        let mut proxies = Vec::new();
        for url in cluster.urls() {
            proxies.push(FaultProxy::start(&url).await?);
        }
        Ok(Self { proxies })
    }

    pub fn urls(&self) -> Vec<String> {
        self.proxies.iter().map(|proxy| proxy.url().to_owned()).collect()
    }

    /// Injects a random fault into the network, and returns its name.
    pub fn disturb(&self, random: &mut fastrand::Rng) -> &'static str {
        let (what, fault): (_, fn(&FaultProxy)) = match random.u8(..6) {
            0 => ("answers lost", |proxy| proxy.swallow(Direction::ToClient)),
            1 => ("requests lost", |proxy| proxy.swallow(Direction::ToServer)),
            2 => ("blackhole", FaultProxy::blackhole),
            3 => ("cut", FaultProxy::cut),
            4 => ("half open", FaultProxy::orphan),
            _ => ("slow", |proxy| proxy.delay(Duration::from_millis(300))),
        };
        self.proxies.iter().for_each(fault);
        what
    }

    pub fn heal(&self) {
        self.proxies.iter().for_each(FaultProxy::heal);
    }
}

/// Connects as a careful service does: it goes on through any outage, notices a dead connection within seconds, and
/// does not bypass the proxies.
pub async fn connect(urls: Vec<String>) -> Result<Client, Failure> {
    let options = ConnectOptions::new()
        .ignore_discovered_servers()
        .retry_on_initial_connect()
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_secs(2))
        .reconnect_delay_callback(|_attempt| Duration::from_millis(fastrand::u64(50..250)));
    Ok(options.connect(urls).await?)
}
