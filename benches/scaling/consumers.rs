//! The cost by the number of consumers of one process that share a durable and a store.

use crate::{Bench, Failure, chart::Chart, costs::Costs, drain::Drain, setting};

pub(crate) const TITLE: &str = "Consumers on one durable";

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let mut costs = Costs::new();
    let events = setting("EVENTS", 20_000);
    for consumers in [1, 2, 4, 8].into_iter().filter(|consumers| *consumers <= setting("CONSUMERS", 8)) {
        let drain = Drain { consumers, ..Drain::of(events) };
        costs.measure(bench, consumers, setting("ROUNDS", 3), drain).await?;
    }
    Ok(costs.chart(TITLE, "consumers"))
}
