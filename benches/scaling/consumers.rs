//! How many consumers of one process share a durable and a store.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    drain::Drain,
    setting,
};

pub(crate) const TITLE: &str = "Consumers on one durable";

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let (mut time, mut cpu) = (Line::new("wall time"), Line::new("client CPU"));
    let events = setting("EVENTS", 20_000);
    for consumers in [1, 2, 4, 8].into_iter().filter(|consumers| *consumers <= setting("CONSUMERS", 8)) {
        let (mut times, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..setting("ROUNDS", 3) {
            bench.fill(events, 1).await?;
            let cost = Drain { events, consumers, named_domains: 0 }.run(bench).await?;
            times.push(cost.time);
            cpus.push(cost.client_cpu);
        }
        time.add(consumers, times);
        cpu.add(consumers, cpus);
    }
    Ok(Chart {
        title: TITLE,
        growing: "consumers",
        unit: "µs for each event consumed",
        lines: vec![time, cpu],
    })
}
