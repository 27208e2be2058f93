//! The cost of an event as things grow, on a real server:
//! `cargo bench -p benches --bench scaling -- [PART] [--json] [--svg PATH]`.
//!
//! PART is what grows: `Backlog`, `Batch sizes`, `Domains`, `Consumers`, `Held messages` or `Known keys`, or a part of
//! that name. The environment sets `ROUNDS` (3), `EVENTS` (20000: the number that is consumed where the backlog does
//! not grow), and the last points of the axes: `BACKLOG` (1000000), `DOMAINS` (1000), `CONSUMERS` (8), `KEYS`
//! (10000000). A smoke run:
//! `ROUNDS=1 EVENTS=500 BACKLOG=1000 DOMAINS=10 CONSUMERS=2 KEYS=10000 cargo bench -p benches --bench scaling`.
#![allow(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed"
)]

mod axis;
mod backlog;
mod batches;
mod bench;
mod chart;
#[path = "../throughput/commit.rs"]
mod commit;
mod consumers;
mod costs;
#[path = "../throughput/cpu_time.rs"]
mod cpu_time;
mod domains;
mod drain;
mod held;
mod known_keys;
mod raw;
mod report;
#[path = "../throughput/setting.rs"]
mod setting;
mod svg;

use bench::Bench;
use setting::setting;
use std::{error::Error, path::PathBuf};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // On a worker thread, which is quicker than the thread that blocks on it.
    tokio::spawn(run()).await?
}

async fn run() -> Result<(), Failure> {
    let Arguments { part, json, svg } = Arguments::read()?;
    let has = |title: &str| part.as_ref().is_none_or(|part| title.contains(part.as_str()));
    // First, while nothing else has taken memory.
    let known_keys = if has(known_keys::TITLE) { known_keys::measure()? } else { Vec::new() };
    let mut charts = Vec::new();
    let titles = [backlog::TITLE, batches::TITLE, domains::TITLE, consumers::TITLE, held::TITLE];
    if titles.into_iter().any(has) {
        let bench = Bench::start().await?;
        if has(backlog::TITLE) {
            charts.push(backlog::measure(&bench).await?);
        }
        if has(batches::TITLE) {
            charts.push(batches::measure(&bench).await?);
        }
        if has(domains::TITLE) {
            charts.extend(domains::measure(&bench).await?);
        }
        if has(consumers::TITLE) {
            charts.push(consumers::measure(&bench).await?);
        }
        if has(held::TITLE) {
            charts.push(held::measure(&bench).await?);
        }
    }
    charts.extend(known_keys);
    if json {
        println!("{}", report::json(&charts));
    } else {
        print!("{}", report::Tables(&charts));
    }
    if let Some(path) = svg {
        std::fs::write(path, svg::Drawing(&charts).to_string())?;
    }
    Ok(())
}

struct Arguments {
    part: Option<String>,
    json: bool,
    svg: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let mut read = Self { part: None, json: false, svg: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => read.json = true,
                "--svg" => read.svg = Some(arguments.next().ok_or("--svg needs a path")?.into()),
                // Cargo adds it.
                "--bench" => {}
                part => read.part = Some(part.to_owned()),
            }
        }
        Ok(read)
    }
}

/// 1, 10, 100 and so on up to `last`, which is a point of its own if it is no power of ten.
fn decades(first: usize, last: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(first), |point| point.checked_mul(10));
    let mut points: Vec<_> = powers.take_while(|point| *point < last).collect();
    points.push(last);
    points
}
