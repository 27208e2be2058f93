//! How many events wait in the stream.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    decades,
    drain::Drain,
    setting,
};

pub(crate) const TITLE: &str = "Backlog";
/// Few events are consumed more often, since each run is short.
const EVENTS_OF_A_POINT: usize = 20_000;
const MOST_RUNS: usize = 15;

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let (mut time, mut cpu) = (Line::new("wall time"), Line::new("client CPU"));
    for backlog in decades(1000, setting("BACKLOG", 1_000_000)) {
        let runs = setting("ROUNDS", 3).max((EVENTS_OF_A_POINT / backlog).min(MOST_RUNS));
        let (mut times, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            bench.fill(backlog, 1).await?;
            let cost = Drain { events: backlog, consumers: 1, named_domains: 0 }.run(bench).await?;
            times.push(cost.time);
            cpus.push(cost.client_cpu);
        }
        time.add(backlog, times);
        cpu.add(backlog, cpus);
    }
    Ok(Chart {
        title: TITLE,
        growing: "events in the stream",
        unit: "µs for each event consumed",
        lines: vec![time, cpu],
    })
}
