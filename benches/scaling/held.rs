//! The cost by the number of messages that may be held, with the default of handlers at once and with as many handlers.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    drain::Drain,
    setting,
};

pub(crate) const TITLE: &str = "Held messages";

/// The default of the handlers that run at once.
const FEW: usize = 64;

pub(crate) async fn measure(bench: &Bench) -> Result<Chart, Failure> {
    let (mut by_default, mut as_many) = (Line::new("64 handlers at once"), Line::new("as many handlers"));
    let events = setting("EVENTS", 20_000);
    for held in [64, 256, 1024, 4096] {
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for _ in 0..setting("ROUNDS", 3) {
            for (times, max_in_flight) in [(&mut few, FEW), (&mut many, held)] {
                bench.fill(events, 1).await?;
                let drain = Drain { max_in_flight, max_prefetch: held, ..Drain::of(events) };
                times.push(drain.run(bench).await?.time);
            }
        }
        by_default.add(held, few);
        as_many.add(held, many);
    }
    let (unit, lines) = ("µs for each event consumed", vec![by_default, as_many]);
    Ok(Chart { title: TITLE, growing: "messages held", unit, lines })
}
