//! The costs of an event: wall time and the client's CPU time.

use crate::{
    Bench, Failure,
    chart::{Chart, Line},
    drain::Drain,
};

pub(crate) struct Costs {
    time: Line,
    cpu: Line,
}

impl Costs {
    pub(crate) fn new() -> Self {
        Self { time: Line::new("wall time"), cpu: Line::new("client CPU") }
    }

    /// Fills and drains so many times, where the growing thing is `at`.
    pub(crate) async fn measure(
        &mut self,
        bench: &Bench,
        at: usize,
        runs: usize,
        drain: Drain,
    ) -> Result<(), Failure> {
        let (mut times, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            bench.fill(drain.events, 1).await?;
            let cost = drain.run(bench).await?;
            times.push(cost.time);
            cpus.push(cost.client_cpu);
        }
        self.time.add(at, times);
        self.cpu.add(at, cpus);
        Ok(())
    }

    pub(crate) fn chart(self, title: &'static str, growing: &'static str) -> Chart {
        Chart { title, growing, unit: "µs for each event consumed", lines: vec![self.time, self.cpu] }
    }
}
