//! The circuit breakers of a consumer, one for each event type that it handles.

use crate::{
    consumer::delivery::{
        breaker::{Admission, Breaker, Change, Verdict},
        circuit_breaker::{CircuitBreaker, OpenBreaker},
    },
    contract::event::EventType,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The circuit breakers of a consumer; none if they are switched off.
#[derive(Debug)]
pub(crate) struct Breakers {
    by_type: Vec<(EventType, Mutex<Breaker>)>,
    /// The instant that the times of breakers are counted from.
    epoch: Instant,
}

/// The events that the consumer may ask the server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    All,
    /// A single event, to be a probe: all breakers are open.
    Probe,
    Nothing,
}

/// The breakers that are open, in the order of the contract.
pub(crate) type OpenBreakers = [Option<OpenBreaker>; EventType::ALL.len()];

impl Breakers {
    pub(crate) fn new(settings: Option<CircuitBreaker>, types: impl Iterator<Item = EventType>) -> Self {
        let closed = |settings| Mutex::new(Breaker::new(settings));
        let by_type = types.filter_map(|event_type| Some((event_type, closed(settings?)))).collect();
        Self { by_type, epoch: Instant::now() }
    }

    /// Returns whether the handler may begin with `event`.
    pub(crate) fn admit(&self, event_type: EventType, event: u64) -> Admission {
        let Some(mut breaker) = self.of(event_type) else { return Admission::Run };
        breaker.admit(event, self.epoch.elapsed())
    }

    /// Gives up the probe of `event`, whose handler did not begin after all.
    pub(crate) fn give_up(&self, event_type: EventType, event: u64) {
        if let Some(mut breaker) = self.of(event_type) {
            breaker.give_up(event);
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
        self.of(event_type)?.record(event, verdict, self.epoch.elapsed(), random)
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
        let breaker = self.of(event_type)?;
        breaker.opened()?;
        breaker.pause(event, waiting(), self.epoch.elapsed(), random)
    }

    pub(crate) fn demand(&self) -> Demand {
        let now = self.epoch.elapsed();
        let mut demand = Demand::Nothing;
        for (_, breaker) in &self.by_type {
            let breaker = lock(breaker);
            if breaker.opened().is_none() {
                return Demand::All;
            }
            if breaker.is_probe_due(now) {
                demand = Demand::Probe;
            }
        }
        if self.by_type.is_empty() { Demand::All } else { demand }
    }

    pub(crate) fn open(&self) -> OpenBreakers {
        let now = self.epoch.elapsed();
        let mut open = OpenBreakers::default();
        for (place, (event_type, breaker)) in open.iter_mut().zip(&self.by_type) {
            *place = lock(breaker).opened().map(|(cause, since)| {
                let open_for = now.saturating_sub(since);
                OpenBreaker { event_type: *event_type, cause, open_for }
            });
        }
        open
    }

    /// Returns whether all breakers are open, so that nothing is asked for but probes.
    pub(crate) fn are_all_open(&self) -> bool {
        !self.by_type.is_empty() && self.by_type.iter().all(|(_, breaker)| lock(breaker).opened().is_some())
    }

    fn of(&self, event_type: EventType) -> Option<MutexGuard<'_, Breaker>> {
        let (_, breaker) = self.by_type.iter().find(|(of, _)| *of == event_type)?;
        Some(lock(breaker))
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}
