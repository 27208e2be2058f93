//! The circuit breakers of a consumer, one for each event type that it handles.

use crate::{
    consumer::delivery::{
        breaker::{Admission, Breaker, Change, Verdict},
        circuit_breaker::{CircuitBreaker, OpenBreaker},
    },
    contract::event::EventType,
};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The circuit breakers of a consumer; none if they are switched off.
#[derive(Debug)]
pub(crate) struct Breakers {
    by_type: Vec<OfType>,
    /// The instant that the times of breakers are counted from.
    epoch: Instant,
}

/// The circuit breaker of an event type.
#[derive(Debug)]
struct OfType {
    event_type: EventType,
    /// Nothing has failed since the last success, so that neither lock nor clock is needed.
    is_quiet: AtomicBool,
    breaker: Mutex<Breaker>,
}

/// The events that the consumer may ask the server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    All,
    /// A single event, to be a probe: all breakers are open.
    Probe,
    Nothing,
}

/// The breakers of a consumer that are open at one moment, in the order of the contract.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenBreakers {
    open: [Option<OpenBreaker>; EventType::ALL.len()],
    /// The number of all breakers, open or not.
    all: usize,
}

impl OpenBreakers {
    pub(crate) fn iter(self) -> impl Iterator<Item = OpenBreaker> {
        self.open.into_iter().flatten()
    }

    /// Returns whether all breakers are open, so that nothing is asked for but probes.
    pub(crate) fn are_all(self) -> bool {
        self.all > 0 && self.iter().count() == self.all
    }
}

impl Breakers {
    pub(crate) fn new(settings: Option<CircuitBreaker>, types: impl Iterator<Item = EventType>) -> Self {
        let of_type = |event_type| {
            let breaker = Mutex::new(Breaker::new(settings?));
            Some(OfType { event_type, is_quiet: AtomicBool::new(true), breaker })
        };
        Self { by_type: types.filter_map(of_type).collect(), epoch: Instant::now() }
    }

    /// Returns whether the handler may begin with `event`.
    pub(crate) fn admit(&self, event_type: EventType, event: u64) -> Admission {
        match self.unquiet(event_type) {
            Some(of_type) => of_type.lock().admit(event, self.epoch.elapsed()),
            None => Admission::Run,
        }
    }

    /// Gives up the probe of `event`, whose handler did not begin after all.
    pub(crate) fn give_up(&self, event_type: EventType, event: u64) {
        if let Some(of_type) = self.unquiet(event_type) {
            of_type.lock().give_up(event);
        }
    }

    /// Records how the handler of `event` ended.
    pub(crate) fn record(
        &self,
        event_type: EventType,
        event: u64,
        verdict: Verdict,
        random: u64,
    ) -> Option<Change> {
        let of_type = self.by_type.iter().find(|of_type| of_type.event_type == event_type)?;
        if verdict == Verdict::Success && of_type.is_quiet() {
            return None;
        }
        let mut breaker = of_type.lock();
        let change = breaker.record(event, verdict, self.epoch.elapsed(), random);
        of_type.is_quiet.store(breaker.is_quiet(), Ordering::Relaxed);
        change
    }

    /// Returns how long `event` is to wait before it is offered again, as one of so many that are `waiting`; `None` if
    /// its breaker is closed.
    pub(crate) fn pause(
        &self,
        event_type: EventType,
        event: u64,
        waiting: impl FnOnce() -> u64,
        random: u64,
    ) -> Option<Duration> {
        let breaker = self.unquiet(event_type)?.lock();
        breaker.opened()?;
        breaker.pause(event, waiting(), self.epoch.elapsed(), random)
    }

    pub(crate) fn demand(&self) -> Demand {
        if self.by_type.is_empty() || self.by_type.iter().any(OfType::is_quiet) {
            return Demand::All;
        }
        let now = self.epoch.elapsed();
        let mut demand = Demand::Nothing;
        for of_type in &self.by_type {
            let breaker = of_type.lock();
            if breaker.opened().is_none() {
                return Demand::All;
            }
            if breaker.is_probe_due(now) {
                demand = Demand::Probe;
            }
        }
        demand
    }

    pub(crate) fn open(&self) -> OpenBreakers {
        let now = self.epoch.elapsed();
        let mut open = OpenBreakers { all: self.by_type.len(), ..OpenBreakers::default() };
        for (place, of_type) in open.open.iter_mut().zip(&self.by_type) {
            *place = of_type.lock().opened().map(|(cause, since)| {
                let open_for = now.saturating_sub(since);
                OpenBreaker { event_type: of_type.event_type, cause, open_for }
            });
        }
        open
    }

    /// Returns the breaker of the type, unless there is none or it is quiet.
    fn unquiet(&self, event_type: EventType) -> Option<&OfType> {
        self.by_type.iter().find(|of_type| of_type.event_type == event_type && !of_type.is_quiet())
    }
}

impl OfType {
    fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
