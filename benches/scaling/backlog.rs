//! The cost by the number of events that wait in the stream.

use crate::{Bench, Failure, chart::Chart, costs::Costs, decades, drain::Drain, setting};

pub(crate) const TITLE: &str = "Backlog";
/// Few events are consumed more often, since each run is short.
const EVENTS_OF_A_POINT: usize = 20_000;
const MOST_RUNS: usize = 15;

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let mut costs = Costs::new();
    for backlog in decades(1000, setting("BACKLOG", 1_000_000)) {
        let runs = setting("ROUNDS", 3).max((EVENTS_OF_A_POINT / backlog).min(MOST_RUNS));
        let drain = Drain::of(backlog);
        costs.measure(bench, backlog, runs, drain).await?;
    }
    Ok(costs.chart(TITLE, "events in the stream"))
}
