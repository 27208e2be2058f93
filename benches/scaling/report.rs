//! The charts as text.

use crate::chart::{Chart, Line, Point};
use serde_json::{Value, json};
use std::fmt;

/// One below the other.
pub(crate) struct Tables<'a>(pub(crate) &'a [Chart]);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|chart| table(f, chart))
    }
}

fn table(f: &mut fmt::Formatter<'_>, Chart { title, growing, unit, lines }: &Chart) -> fmt::Result {
    write!(f, "{title}: {unit}\n{growing:>22}")?;
    for Line { name, .. } in lines {
        write!(f, " {name:>22} {:>17}", "from - to")?;
    }
    writeln!(f)?;
    let rows = lines.iter().map(|line| line.points.len()).max().unwrap_or_default();
    for row in 0..rows {
        let points: Vec<_> = lines.iter().filter_map(|line| line.points.get(row)).collect();
        write!(f, "{:>22}", points.first().map(|point| point.at).unwrap_or_default())?;
        for Point { low, median, high, .. } in points {
            let range = format!("{low:.2} - {high:.2}");
            write!(f, " {median:>22.2} {range:>17}")?;
        }
        writeln!(f)?;
    }
    writeln!(f)
}

pub(crate) fn json(charts: &[Chart]) -> Value {
    let point = |Point { at, low, median, high }: &Point| json!({ "at": at, "low": low, "median": median, "high": high });
    let line = |Line { name, points }: &Line| {
        let points: Value = points.iter().map(point).collect();
        json!({ "name": name, "points": points })
    };
    let chart = |Chart { title, growing, unit, lines }: &Chart| {
        let lines: Value = lines.iter().map(line).collect();
        json!({ "title": title, "growing": growing, "unit": unit, "lines": lines })
    };
    charts.iter().map(chart).collect()
}
