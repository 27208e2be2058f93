//! One event that kills its process, among others that do not: of all of them it alone is dead-lettered.
//!
//! Three events in one process, which is restarted whenever it dies. Claims, handlers and ends come in any order.

use crate::consumer::delivery::{
    decide::{Observed, Position, Step, Write, counted},
    model::{
        protocol::Protocol,
        rules,
        store::{Record, Status},
    },
};
use std::collections::HashSet;

const EVENTS: usize = 3;
/// The event that kills its process.
const KILLER: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Delivery {
    slot: Record,
    at: At,
    /// The number of claims of the latest process, as its claimant.
    claims: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    /// To be claimed, alone or in company.
    Waiting {
        alone: bool,
    },
    Claimed {
        alone: bool,
    },
    Running {
        alone: bool,
    },
    Handled,
    DeadLettered,
}

type World = [Delivery; EVENTS];

fn position(of: Record, is_alone: bool) -> Position {
    Position {
        attempt: counted(of.attempts, of.lapsed),
        deliveries: 1,
        is_claimed: true,
        is_alone,
        pause: None,
        postponed: None,
        random: 0,
    }
}

fn holds_claim(delivery: &Delivery) -> bool {
    matches!(delivery.at, At::Claimed { .. } | At::Running { .. })
}

fn is_alone(delivery: &Delivery) -> bool {
    matches!(delivery.at, At::Claimed { alone: true } | At::Running { alone: true })
}

fn claim(protocol: Protocol, world: World, event: usize, alone: bool) -> Option<World> {
    let others = || world.iter().enumerate().filter(|(other, _)| *other != event).map(|(_, other)| other);
    let is_let_in = if alone { !others().any(holds_claim) } else { !others().any(is_alone) };
    if !is_let_in {
        return None;
    }
    let mut next = world;
    let delivery = &mut next[event];
    delivery.claims = delivery.claims.wrapping_add(1);
    let claim = delivery.slot.claim(delivery.claims);
    let at = position(delivery.slot, alone);
    let step = protocol.decide(&rules(protocol, false, 0).policy, at, Observed::Claimed(claim));
    delivery.at = match step {
        Step::Run => At::Running { alone },
        Step::Write { what: Write::Isolate, .. } => At::Claimed { alone: false },
        Step::DeadLetter(_) => At::DeadLettered,
        other => panic!("{other:?}"),
    };
    Some(next)
}

fn end(world: World, event: usize) -> World {
    let mut next = world;
    if event == KILLER {
        // All claims of the process expire.
        for delivery in &mut next {
            if holds_claim(delivery)
                && let Status::Held { is_over, .. } = &mut delivery.slot.status
            {
                *is_over = true;
            }
            if !matches!(delivery.at, At::Handled | At::DeadLettered) {
                delivery.at = At::Waiting { alone: false };
            }
        }
    } else {
        next[event].at = At::Handled;
    }
    next
}

fn successors(protocol: Protocol, world: World) -> Vec<World> {
    let mut next = Vec::new();
    for (event, delivery) in world.iter().enumerate() {
        match delivery.at {
            At::Waiting { alone } => next.extend(claim(protocol, world, event, alone)),
            At::Claimed { .. } => {
                let mut deferred = world;
                deferred[event].slot.write(Write::Isolate, delivery.slot.fence);
                deferred[event].at = At::Waiting { alone: true };
                next.push(deferred);
            }
            At::Running { .. } => next.push(end(world, event)),
            At::Handled | At::DeadLettered => {}
        }
    }
    next
}

/// Returns all that can be reached, with small numbers: fences and claimants only have to differ.
fn explore(protocol: Protocol) -> HashSet<World> {
    let waiting = Delivery { slot: Record::UNKNOWN, at: At::Waiting { alone: false }, claims: 0 };
    let mut explored = HashSet::from([[waiting; EVENTS]]);
    let mut frontier = vec![[waiting; EVENTS]];
    while let Some(world) = frontier.pop() {
        for next in successors(protocol, world) {
            if explored.insert(next) {
                frontier.push(next);
            }
        }
    }
    explored
}

fn innocents(world: &World) -> &[Delivery] {
    &world[KILLER + 1..]
}

#[test]
fn an_event_that_kills_its_process_is_dead_lettered_alone() {
    let explored = explore(Protocol::Right);
    println!("{} states", explored.len());
    let max_attempts = rules(Protocol::Right, false, 0).policy.max_attempts;
    for world in &explored {
        for innocent in innocents(world) {
            assert_ne!(innocent.at, At::DeadLettered, "{world:?}");
            // In company twice, and once alone; a claim that is given back to be alone counts no more.
            assert!(innocent.slot.attempts <= 3, "{world:?}");
        }
        assert!(world[KILLER].slot.attempts <= max_attempts + 3, "{world:?}");
        if successors(Protocol::Right, *world).is_empty() {
            assert_eq!(world[KILLER].at, At::DeadLettered);
            assert!(innocents(world).iter().all(|innocent| innocent.at == At::Handled));
        }
    }
}

#[test]
fn without_isolation_innocent_events_are_dead_lettered() {
    for protocol in [Protocol::NeverIsolates, Protocol::CountsLapses] {
        let explored = explore(protocol);
        let is_wrong =
            |world: &World| innocents(world).iter().any(|innocent| innocent.at == At::DeadLettered);
        assert!(explored.iter().any(is_wrong), "{protocol:?}");
    }
}
