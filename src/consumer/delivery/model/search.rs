//! Breadth first through all states, so that the first violation found has the shortest way to it.

use crate::consumer::delivery::model::{
    actions::{Action, Rules, successors},
    properties::{Violation, violation},
    state::State,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::{self, Write as _},
};

/// All states that can be reached.
pub(super) type Explored = HashMap<State, Origin>;

/// The step that reached a state first; `None` for the initial state.
pub(super) type Origin = Option<(State, Action)>;

pub(super) struct Counterexample {
    pub(super) violation: Violation,
    pub(super) steps: usize,
    trace: String,
}

pub(super) fn explore(rules: &Rules) -> Result<Explored, Counterexample> {
    let mut explored = Explored::from([(State::START, None)]);
    let mut frontier = vec![State::START];
    while !frontier.is_empty() {
        let mut beyond = Vec::new();
        for state in frontier {
            for (action, next) in successors(rules, &state) {
                let Entry::Vacant(unseen) = explored.entry(next) else { continue };
                unseen.insert(Some((state, action)));
                if let Some(violation) = violation(&next, rules.policy.max_attempts) {
                    return Err(Counterexample::new(violation, &next, &explored));
                }
                beyond.push(next);
            }
        }
        frontier = beyond;
    }
    Ok(explored)
}

impl Counterexample {
    fn new(violation: Violation, last: &State, explored: &Explored) -> Self {
        let mut actions = Vec::new();
        let mut state = *last;
        while let Some(Some((before, action))) = explored.get(&state) {
            actions.push(*action);
            state = *before;
        }
        let mut trace = String::new();
        for (number, Action { by, what }) in (1..).zip(actions.iter().rev()) {
            let _in_memory = writeln!(trace, "{number:>3}. {by} {what}");
        }
        let _in_memory = writeln!(trace, "     {violation:?}: {last:#?}");
        Self { violation, steps: actions.len(), trace }
    }
}

impl fmt::Debug for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {} steps:\n{}", self.violation, self.steps, self.trace)
    }
}
