//! The time from the call of `publish` to the start of the handler, on either feed, on one server and on three:
//! `cargo bench -p benches --bench latency`.
//!
//! `EVENTS` (2000) events, 200 each second, so that nothing waits for another one. What the Choco feed takes longer is
//! the forwarding by the broker.
#![allow(clippy::print_stdout, reason = "figures are printed")]

mod journey;
#[path = "../throughput/setting.rs"]
mod setting;

use journey::Journeys;
use setting::setting;
use std::error::Error;
use stratt_event_bridge::{
    Feed, async_nats,
    testing::{NatsCluster, NatsServer},
};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let events = setting("EVENTS", 2000);
    println!("{events} events at 200/s; from the call of publish to the start of the handler");
    println!("{:<10}{:<15}{:>10}{:>10}{:>10}", "replicas", "feed", "p50", "p99", "longest");
    // With servers of its own, each measurement has no events but its own.
    for feed in [Feed::Strat, Feed::Choco] {
        let server = NatsServer::start().await?;
        measure(&server.connect().await?, 1, feed, events).await?;
    }
    for feed in [Feed::Strat, Feed::Choco] {
        let cluster = NatsCluster::start(3).await?;
        measure(&cluster.connect().await?, 3, feed, events).await?;
    }
    Ok(())
}

async fn measure(
    client: &async_nats::Client,
    replicas: usize,
    feed: Feed,
    events: usize,
) -> Result<(), Failure> {
    let Journeys { p50, p99, longest } = Journeys::measure(client, replicas, feed, events).await?;
    println!("{replicas:<10}{:<15}{p50:>10.2?}{p99:>10.2?}{longest:>10.2?}", feed.to_string());
    Ok(())
}
