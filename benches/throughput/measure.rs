//! One run of one side: how fast, and how much CPU time of this process.

use crate::cpu_time::cpu_time;
use std::time::{Duration, Instant};

pub(crate) struct Stopwatch {
    begun: Instant,
    cpu: Duration,
}

#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// Microseconds for each event.
    pub(crate) cpu: f64,
    /// The median and the 99th percentile of single publishes, in microseconds.
    pub(crate) times: Option<(f64, f64)>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { cpu: cpu_time(), begun: Instant::now() }
    }

    pub(crate) fn stop(self, events: usize) -> Sample {
        let (events, took) = (events as f64, self.begun.elapsed());
        let cpu = cpu_time().saturating_sub(self.cpu);
        Sample { per_second: events / took.as_secs_f64(), cpu: micros(cpu) / events, times: None }
    }
}

impl Sample {
    pub(crate) fn with_times(mut self, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent| times.get(times.len() * percent / 100).copied().map_or(f64::NAN, micros);
        self.times = Some((at(50), at(99)));
        self
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
