//! Over how many domains the events are spread, and how many of them the consumer names.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    decades,
    drain::Drain,
    raw, setting,
};

pub(crate) const TITLE: &str = "Domains";

pub(crate) async fn measure(bench: &Bench) -> Result<Vec<Chart>, Failure> {
    let (mut for_all, mut named) = (Pair::default(), Pair::default());
    let events = setting("EVENTS", 20_000);
    for domains in decades(1, setting("DOMAINS", 1000)) {
        for _ in 0..setting("ROUNDS", 3) {
            bench.fill(events, domains).await?;
            for_all.measure(bench, events, 0).await?;
            named.measure(bench, events, domains).await?;
        }
        for_all.end_point(domains);
        named.end_point(domains);
    }
    Ok(vec![for_all.chart("Domains, one filter for all"), named.chart("Domains, each named by the consumer")])
}

/// The bridge, and raw async-nats with the same filters.
struct Pair {
    bridge: Line,
    raw: Line,
    /// The names of the domains of the point that is being measured.
    times: (Vec<f64>, Vec<f64>),
}

impl Default for Pair {
    fn default() -> Self {
        Self { bridge: Line::new("bridge"), raw: Line::new("raw pull and ack"), times: Default::default() }
    }
}

impl Pair {
    async fn measure(&mut self, bench: &Bench, events: usize, named_domains: usize) -> Result<(), Failure> {
        self.times.1.push(raw::drain(bench, events, named_domains).await?);
        self.times.0.push(Drain { named_domains, ..Drain::of(events) }.run(bench).await?.time);
        Ok(())
    }

    fn end_point(&mut self, domains: usize) {
        let (bridge, raw) = std::mem::take(&mut self.times);
        self.bridge.add(domains, bridge);
        self.raw.add(domains, raw);
    }

    fn chart(self, title: &'static str) -> Chart {
        let lines = vec![self.bridge, self.raw];
        Chart { title, growing: "domains", unit: "µs for each event consumed", lines }
    }
}
