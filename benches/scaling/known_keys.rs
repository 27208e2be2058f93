//! The cost by the number of keys that a store in memory knows.

use crate::{
    Failure,
    chart::{Chart, Line},
    decades, setting,
};
use futures::FutureExt;
use std::time::{Duration, Instant};
use stratt_event_bridge::{
    ConsumerName,
    dedupe::{Claim, DedupeStore, MemoryStore, Slot},
};
use uuid::Uuid;

pub(crate) const TITLE: &str = "Known keys";

const GROWING: &str = "keys in the store";
const LEASE: Duration = Duration::from_secs(40);
/// So few that they take no memory worth mentioning.
const SLOTS_AT_ONCE: usize = 100;

/// A store, and how long its claims take together with their settling.
struct Growing {
    store: MemoryStore,
    consumer: ConsumerName,
    known: usize,
    longest: Duration,
}

pub(crate) fn measure() -> Result<Vec<Chart>, Failure> {
    let points = decades(1000, setting("KEYS", 10_000_000));
    // What the code itself takes is there before.
    Growing::new(usize::MAX)?.grow(SLOTS_AT_ONCE)?;
    let before = resident_bytes();
    let mut memory = Line::new("resident memory");
    let mut rounds = Vec::new();
    for round in 0..setting("ROUNDS", 3) {
        let mut growing = Growing::new(points.last().map_or(0, |last| last * 2))?;
        let mut measured = Vec::new();
        for point in &points {
            growing.longest = Duration::ZERO;
            growing.grow(point.saturating_sub(growing.known))?;
            // Only the first store takes all its memory from the system.
            if round == 0 {
                memory.add(*point, vec![(resident_bytes() - before) / *point as f64]);
            }
            let longest = growing.longest.as_secs_f64() * 1e3;
            let few = (point / 10).clamp(1, 10_000);
            measured.push((growing.grow(few)?.as_secs_f64() * 1e6 / few as f64, longest));
        }
        rounds.push(measured);
    }
    let (mut time, mut longest) = (Line::new("at that size"), Line::new("since the point before"));
    for (index, point) in points.iter().enumerate() {
        let (times, pauses) = rounds.iter().filter_map(|round| round.get(index).copied()).unzip();
        time.add(*point, times);
        longest.add(*point, pauses);
    }
    Ok(vec![
        chart("Known keys, time", "µs for a claim and its settling", time),
        chart("Known keys, memory", "bytes for each key", memory),
        chart("Known keys, longest pause", "ms for the slowest claim and settling", longest),
    ])
}

fn chart(title: &'static str, unit: &'static str, line: Line) -> Chart {
    Chart { title, growing: GROWING, unit, lines: vec![line] }
}

impl Growing {
    fn new(capacity: usize) -> Result<Self, Failure> {
        let store = MemoryStore::with_capacity(capacity);
        Ok(Self { store, consumer: "choco-unit-deprecated".parse()?, known: 0, longest: Duration::ZERO })
    }

    /// Claims and settles `count` new slots, and returns how long that took without the making of the slots.
    fn grow(&mut self, count: usize) -> Result<Duration, Failure> {
        let (mut took, mut left) = (Duration::ZERO, count);
        while left > 0 {
            let slots: Vec<_> =
                (0..left.min(SLOTS_AT_ONCE)).map(|_| self.slot()).collect::<Result<_, _>>()?;
            let mut begun = Instant::now();
            for slot in &slots {
                self.claim_and_settle(slot)?;
                let ended = Instant::now();
                let this = ended.duration_since(begun);
                self.longest = self.longest.max(this);
                (took, begun) = (took + this, ended);
            }
            left -= slots.len();
        }
        self.known += count;
        Ok(took)
    }

    fn slot(&self) -> Result<Slot, Failure> {
        let key = format!("{0}{0}", Uuid::new_v4().simple()).parse()?;
        Ok(Slot::new(self.consumer.clone(), key))
    }

    /// This store answers at once.
    fn claim_and_settle(&self, slot: &Slot) -> Result<(), Failure> {
        let claim = self.store.claim(slot, LEASE).now_or_never().ok_or("a claim has to wait")??;
        let Claim::Acquired { fence, .. } = claim else { return Err("a new slot was not granted".into()) };
        Ok(self.store.settle(slot, fence).now_or_never().ok_or("settling has to wait")??)
    }
}

/// Returns the memory of this process; known on Linux only.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kibibytes.map_or(f64::NAN, |kibibytes| kibibytes * 1024.0)
}
