//! The check that the events of each unit were handled strictly in stream order.

use crate::{Entry, Fact, found::Stored};
use std::collections::{HashMap, HashSet};
use stratt_event_bridge::{IdempotencyKey, UnitUri};

/// The time of the first run of a handler for an event, and of its first effect.
#[derive(Debug, Clone, Copy)]
struct Times {
    ran: u64,
    made: Option<u64>,
}

/// Returns a line for each event whose handling began before an earlier event of its unit in the stream had ended.
///
/// The first effect of an event stands for its end; of one that was dead-lettered, its first run does. What a process
/// still does that was frozen and replaced meanwhile is no violation: it cannot be stopped.
pub(crate) fn out_of_order(entries: &[Entry], due: &[Stored]) -> Vec<String> {
    let times = times(entries);
    let mut seen = HashSet::new();
    let mut newest: HashMap<&UnitUri, (u64, u64)> = HashMap::new();
    let mut violations = Vec::new();
    for stored in due {
        let (Some(key), Some(unit)) = (stored.key, &stored.unit) else { continue };
        // A twin is skipped when it comes up.
        if !seen.insert(key) {
            continue;
        }
        let Some(Times { ran, made }) = times.get(&key) else { continue };
        if let Some((sequence, ended)) = newest.get(unit)
            && ran < ended
        {
            let early = ended - ran;
            violations
                .push(format!("message {} began {early} ms before {sequence} of its unit", stored.sequence));
        }
        newest.insert(unit, (stored.sequence, made.unwrap_or(*ran)));
    }
    violations
}

fn times(entries: &[Entry]) -> HashMap<IdempotencyKey, Times> {
    let mut times = HashMap::new();
    for entry in entries {
        let at = entry.at_ms;
        match entry.fact {
            Fact::Ran { key, .. } => {
                times.entry(key).or_insert(Times { ran: at, made: None });
            }
            Fact::Effect { key, .. } => {
                let times = times.entry(key).or_insert(Times { ran: at, made: None });
                times.made = times.made.or(Some(at));
            }
            _ => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn stored(sequence: u8, unit: &str) -> Stored {
        Stored {
            sequence: sequence.into(),
            origin: sequence.into(),
            key: format!("{sequence:064x}").parse().ok(),
            unit: format!("strat://dev/rule/{unit}@1.0.0").parse().ok(),
            at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn run(sequence: u8, ran: u64, made: u64) -> [Entry; 2] {
        let key = format!("{sequence:064x}").parse().unwrap();
        let entry = |at_ms, fact| Entry { at_ms, process: 1, fact };
        [entry(ran, Fact::Ran { key, fence: 1 }), entry(made, Fact::Effect { key, fence: 1 })]
    }

    #[test]
    fn an_event_that_overtakes_another_of_its_unit_is_found() {
        let due = [stored(1, "a"), stored(2, "b"), stored(3, "a")];
        let in_order = [run(1, 10, 20), run(3, 20, 30), run(2, 5, 6)].concat();
        assert_eq!(out_of_order(&in_order, &due), [""; 0]);
        let overlapping = [run(1, 10, 20), run(3, 19, 30)].concat();
        assert_eq!(out_of_order(&overlapping, &due), ["message 3 began 1 ms before 1 of its unit"]);
    }
}
