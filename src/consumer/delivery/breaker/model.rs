//! The circuit breaker, driven through all that can happen to it within bounds.
//!
//! Of three events one fails always, the others only while what they depend on is away. Time passes in steps of one
//! probe interval or half of it, handlers begin in any order that the breaker allows, and end in any order. The same
//! search finds the flaw of every [`Flawed`] breaker.

use super::*;
use std::collections::{BTreeSet, HashMap, HashSet};

const INTERVAL: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(1);
/// The time of the search, in steps.
const MOST_STEPS: u32 = 6;
const EVENTS: [u64; 3] = [BAD, 2, 3];
/// The event that fails on good days, too.
const BAD: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flawed {
    Not,
    /// Probes the same event again and again.
    ForgetsProbed,
    /// Lets others begin while a probe runs.
    ManyProbes,
    /// Opens for the failures of a single event.
    CountsNoEvents,
    /// Probes without a pause.
    Hasty,
    /// Counts failures across successes.
    ForgetsSuccess,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    breaker: Breaker,
    steps: u32,
    running: Vec<(u64, bool)>,
    /// The time since the last probe ended, or the breaker opened.
    quiet_since: Duration,
    failures_since_success: u32,
    failed_since_success: BTreeSet<u64>,
    last_probed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Violation {
    TwoProbes,
    TooSoon,
    OpenedForOne,
    OpenedTooSoon,
    HeldOpenByOne,
    StillOpen,
}

fn settings(flaw: Flawed) -> CircuitBreaker {
    let events = if flaw == Flawed::CountsNoEvents { 1 } else { 2 };
    CircuitBreaker::default().with_failures(3).with_events(events).with_probe_interval(INTERVAL)
}

impl World {
    fn start(flaw: Flawed) -> Self {
        Self {
            breaker: Breaker::new(settings(flaw)),
            steps: 0,
            running: Vec::new(),
            quiet_since: Duration::ZERO,
            failures_since_success: 0,
            failed_since_success: BTreeSet::new(),
            last_probed: None,
        }
    }

    fn now(&self) -> Duration {
        STEP * self.steps
    }

    fn admit(&mut self, flaw: Flawed, event: u64) -> Admission {
        if let State::Open(open) = &mut self.breaker.state {
            match flaw {
                Flawed::ForgetsProbed => open.last_probe = None,
                Flawed::ManyProbes => open.probing = None,
                Flawed::Hasty => open.next_probe = Duration::ZERO,
                _ => {}
            }
        }
        let now = self.now();
        self.breaker.admit(event, now)
    }

    /// Lets a handler begin, if it may.
    fn begin(&self, flaw: Flawed, event: u64) -> Result<Option<Self>, Violation> {
        let mut next = self.clone();
        let admission = next.admit(flaw, event);
        if admission == Admission::Probe {
            if next.running.iter().any(|(_, is_probe)| *is_probe) {
                return Err(Violation::TwoProbes);
            }
            if next.now() < next.quiet_since + INTERVAL {
                return Err(Violation::TooSoon);
            }
            // Others wait, whether or not they were offered before.
            if next.last_probed.replace(event) == Some(event) && next.now() < next.quiet_since + INTERVAL * 3
            {
                return Err(Violation::HeldOpenByOne);
            }
        }
        if admission == Admission::Wait {
            return Ok(None);
        }
        next.running.push((event, admission == Admission::Probe));
        Ok(Some(next))
    }

    /// Ends the handler at `place`.
    fn end(&self, flaw: Flawed, place: usize, verdict: Verdict) -> Result<Self, Violation> {
        let mut next = self.clone();
        let (event, is_probe) = next.running.remove(place);
        let was_open = next.breaker.opened().is_some();
        let before = next.breaker.clone();
        let now = next.now();
        let change = next.breaker.record(event, verdict, now, 0);
        if verdict == Verdict::Success {
            (next.failures_since_success, next.failed_since_success) = (0, BTreeSet::new());
            if flaw == Flawed::ForgetsSuccess && !was_open {
                next.breaker = before;
            }
        }
        if verdict == Verdict::Failure && !was_open {
            next.failures_since_success = (next.failures_since_success + 1).min(3);
            next.failed_since_success.insert(event);
        }
        match change {
            Some(Change::Opened(BreakerCause::Failures)) if next.failed_since_success.len() < 2 => {
                return Err(Violation::OpenedForOne);
            }
            Some(Change::Opened(BreakerCause::Failures)) if next.failures_since_success < 3 => {
                return Err(Violation::OpenedTooSoon);
            }
            _ => {}
        }
        if verdict == Verdict::Success && flaw != Flawed::ForgetsSuccess && next.breaker.opened().is_some() {
            return Err(Violation::StillOpen);
        }
        if is_probe || change.is_some() {
            next.quiet_since = now;
        }
        if next.breaker.opened().is_none() {
            next.last_probed = None;
            // What goes on is a handler like any other.
            next.running.iter_mut().for_each(|(_, is_probe)| *is_probe = false);
        }
        Ok(next)
    }

    fn successors(&self, flaw: Flawed) -> Result<Vec<Self>, Violation> {
        let mut next = Vec::new();
        if self.steps < MOST_STEPS {
            next.push(Self { steps: self.steps + 1, ..self.clone() });
        }
        for event in EVENTS {
            if self.running.len() < 2 && !self.running.iter().any(|(running, _)| *running == event) {
                next.extend(self.begin(flaw, event)?);
            }
        }
        for (place, (event, _)) in self.running.iter().enumerate() {
            next.push(self.end(flaw, place, Verdict::Failure)?);
            next.push(self.end(flaw, place, Verdict::Away(Some(STEP)))?);
            next.push(self.end(flaw, place, Verdict::Unknown)?);
            if *event != BAD {
                next.push(self.end(flaw, place, Verdict::Success)?);
            }
        }
        Ok(next)
    }

    /// Returns the time until the breaker is closed once all is well: events are offered at every step, the bad one
    /// first.
    fn recovers_in(&self, flaw: Flawed) -> Option<Duration> {
        let mut world = self.clone();
        world.running.clear();
        if let State::Open(open) = &mut world.breaker.state {
            open.probing = None;
        }
        let begun = world.now();
        while world.breaker.opened().is_some() {
            for event in EVENTS {
                if world.admit(flaw, event) == Admission::Probe {
                    let verdict = if event == BAD { Verdict::Failure } else { Verdict::Success };
                    let now = world.now();
                    world.breaker.record(event, verdict, now, 0);
                }
            }
            world.steps += 1;
            if world.now() > begun + INTERVAL * 10 {
                return None;
            }
        }
        Some(world.now().saturating_sub(begun))
    }
}

/// Returns the states that were reached, or the first violation.
fn explore(flaw: Flawed) -> Result<HashSet<World>, Violation> {
    let mut explored = HashSet::from([World::start(flaw)]);
    let mut frontier = vec![World::start(flaw)];
    while let Some(world) = frontier.pop() {
        for next in world.successors(flaw)? {
            if explored.insert(next.clone()) {
                frontier.push(next);
            }
        }
    }
    Ok(explored)
}

#[test]
fn every_promise_of_the_breaker_is_kept_in_every_state() {
    let explored = explore(Flawed::Not).unwrap_or_else(|violation| panic!("{violation:?}"));
    println!("{} states", explored.len());
    let open: Vec<_> = explored.iter().filter(|world| world.breaker.opened().is_some()).collect();
    assert!(open.len() > 1_000 && open.len() < explored.len());
    // A probe that is known to be too soon is waited for, then the bad event is probed, then another one.
    let longest = open.iter().map(|world| world.recovers_in(Flawed::Not)).max().flatten();
    assert!(longest.is_some_and(|longest| longest <= INTERVAL * 3), "{longest:?}");
    assert!(open.iter().all(|world| world.recovers_in(Flawed::Not).is_some()));
}

#[test]
fn every_flawed_breaker_is_found_out() {
    let flawed = HashMap::from([
        ("one bad event", (Flawed::ForgetsProbed, Violation::HeldOpenByOne)),
        ("many probes", (Flawed::ManyProbes, Violation::TwoProbes)),
        ("one event", (Flawed::CountsNoEvents, Violation::OpenedForOne)),
        ("no pause", (Flawed::Hasty, Violation::TooSoon)),
        ("successes", (Flawed::ForgetsSuccess, Violation::OpenedForOne)),
    ]);
    for (name, (flaw, violation)) in flawed {
        let found = explore(flaw).expect_err(name);
        let related = [violation, Violation::OpenedTooSoon];
        assert!(related.contains(&found), "{name}: {found:?}");
    }
    // And one bad event holds it open in time as well as in the search.
    let mut world = World::start(Flawed::ForgetsProbed);
    for event in [BAD, 2, BAD] {
        world.breaker.record(event, Verdict::Failure, Duration::ZERO, 0);
    }
    assert_eq!(world.recovers_in(Flawed::ForgetsProbed), None);
    assert!(world.recovers_in(Flawed::Not).is_some());
}

#[test]
fn pauses_last_until_the_probe_and_grow_with_what_waits() {
    let mut breaker = Breaker::new(settings(Flawed::Not));
    assert_eq!(breaker.pause(2, 9, Duration::ZERO, 0), None);
    breaker.record(2, Verdict::Away(None), Duration::ZERO, 0);
    assert_eq!(breaker.pause(2, 9, Duration::ZERO, 0), Some(INTERVAL));
    assert_eq!(breaker.pause(2, 9, INTERVAL, 49), Some(INTERVAL / 2 + INTERVAL * 49 / 100));
    let hour = Duration::from_secs(3600);
    assert_eq!(breaker.pause(2, 60_000, hour, 0), Some(Duration::from_secs(60)));
    // A known end of the outage is waited for, however long it takes.
    breaker.record(2, Verdict::Away(Some(hour)), hour, 0);
    assert_eq!(breaker.pause(3, 9, hour, 0), Some(hour));
    assert_eq!(breaker.admit(3, hour + hour / 2), Admission::Wait);
    assert_eq!(breaker.admit(3, hour * 2), Admission::Probe);
}

#[test]
fn a_probe_whose_handler_did_not_begin_leaves_its_place() {
    let mut breaker = Breaker::new(settings(Flawed::Not));
    breaker.record(2, Verdict::Away(None), Duration::ZERO, 0);
    assert_eq!(breaker.admit(2, INTERVAL), Admission::Probe);
    assert_eq!(breaker.admit(3, INTERVAL), Admission::Wait);
    breaker.give_up(3);
    assert_eq!(breaker.admit(3, INTERVAL), Admission::Wait);
    breaker.give_up(2);
    assert_eq!(breaker.admit(3, INTERVAL), Admission::Probe);
}
