//! Medians, spreads, and ratios pair by pair.

use crate::measure::Sample;
use serde_json::{Value, json};
use std::fmt;

type Pair = (Sample, Sample);
type Side = fn(&Pair) -> &Sample;

/// The measurements by part, in the order of their first round.
#[derive(Default)]
pub(crate) struct Table {
    parts: Vec<(String, Vec<Pair>)>,
}

/// The median, and the lowest and highest value.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Table {
    pub(crate) fn add(&mut self, part: &str, raw: Sample, bridge: Sample) {
        if let Some((_, pairs)) = self.parts.iter_mut().find(|(name, _)| name == part) {
            pairs.push((raw, bridge));
        } else {
            self.parts.push((part.to_owned(), vec![(raw, bridge)]));
        }
    }

    pub(crate) fn json(&self) -> Value {
        let part = |(name, pairs): &(String, Vec<Pair>)| {
            let side = |of: Side| {
                json!({
                    "eventsPerSecond": spread(pairs, |pair| of(pair).per_second).json(),
                    "cpuMicros": spread(pairs, |pair| of(pair).cpu).json(),
                    "p50Micros": spread(pairs, |pair| p50(of(pair))).json(),
                    "p99Micros": spread(pairs, |pair| p99(of(pair))).json(),
                })
            };
            json!({
                "part": name,
                "raw": side(|pair| &pair.0),
                "bridge": side(|pair| &pair.1),
                "ratio": spread(pairs, ratio).json(),
                "cpuRatio": spread(pairs, |(raw, bridge)| bridge.cpu / raw.cpu).json(),
                "p50Ratio": spread(pairs, |(raw, bridge)| p50(bridge) / p50(raw)).json(),
            })
        };
        self.parts.iter().map(part).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<21} {:<7} {:>8} {:>17} {:>7} {:>6} {:>6}",
            "part", "side", "events/s", "from - to", "CPU us", "p50 us", "p99 us"
        )?;
        for (name, pairs) in &self.parts {
            let sides: [(&str, Side); 2] = [("raw", |pair| &pair.0), ("bridge", |pair| &pair.1)];
            for (side, of) in sides {
                let Spread { low, median, high } = spread(pairs, |pair| of(pair).per_second);
                let cpu = spread(pairs, |pair| of(pair).cpu).median;
                let range = format!("{low:.0} - {high:.0}");
                write!(f, "{name:<21} {side:<7} {median:>8.0} {range:>17} {cpu:>7.2}")?;
                let (p50, p99) =
                    (spread(pairs, |pair| p50(of(pair))).median, spread(pairs, |pair| p99(of(pair))).median);
                if p50.is_nan() { writeln!(f)? } else { writeln!(f, " {p50:>6.0} {p99:>6.0}")? }
            }
            let Spread { low, median, high } = spread(pairs, ratio);
            let range = format!("{low:.2} - {high:.2}");
            let cpu = spread(pairs, |(raw, bridge)| bridge.cpu / raw.cpu).median;
            write!(f, "{name:<21} {:<7} {median:>8.2} {range:>17} {cpu:>7.2}", "ratio")?;
            let p50 = spread(pairs, |(raw, bridge)| p50(bridge) / p50(raw)).median;
            let p99 = spread(pairs, |(raw, bridge)| p99(bridge) / p99(raw)).median;
            if p50.is_nan() { writeln!(f)? } else { writeln!(f, " {p50:>6.2} {p99:>6.2}")? }
        }
        Ok(())
    }
}

impl Spread {
    fn json(&self) -> Value {
        json!({ "low": self.low, "median": self.median, "high": self.high })
    }
}

fn ratio((raw, bridge): &Pair) -> f64 {
    bridge.per_second / raw.per_second
}

fn p50(sample: &Sample) -> f64 {
    sample.times.map_or(f64::NAN, |(p50, _)| p50)
}

fn p99(sample: &Sample) -> f64 {
    sample.times.map_or(f64::NAN, |(_, p99)| p99)
}

fn spread(pairs: &[Pair], value: impl Fn(&Pair) -> f64) -> Spread {
    let mut values: Vec<_> = pairs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    Spread { low: at(0), median: at(values.len() / 2), high: at(values.len().saturating_sub(1)) }
}
