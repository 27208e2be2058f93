//! Over how many domains the events are spread, and how many of them the consumer names.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    decades,
    drain::Drain,
    setting,
};

pub(crate) const TITLE: &str = "Domains";

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let (mut all, mut named) = (Line::new("one filter for all"), Line::new("each named"));
    let events = setting("EVENTS", 20_000);
    for domains in decades(1, setting("DOMAINS", 1000)) {
        let (mut with_one, mut with_each) = (Vec::new(), Vec::new());
        for _ in 0..setting("ROUNDS", 3) {
            bench.fill(events, domains).await?;
            with_one.push(Drain { events, consumers: 1, named_domains: 0 }.run(bench).await?.time);
            with_each.push(Drain { events, consumers: 1, named_domains: domains }.run(bench).await?.time);
        }
        all.add(domains, with_one);
        named.add(domains, with_each);
    }
    Ok(Chart {
        title: TITLE,
        growing: "domains",
        unit: "us for each event consumed",
        lines: vec![all, named],
    })
}
