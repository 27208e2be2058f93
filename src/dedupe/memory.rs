//! The store in the memory of the process.

use crate::dedupe::{Claim, DedupeStore, Fence, Slot, SlotState, StoreError, StoreErrorKind};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A store in the memory of the process, of bounded size.
///
/// Its content is lost when the process ends, and is not shared between processes: for tests, and for consumers of a
/// single process whose effects may be repeated after a restart.
///
/// A full store evicts the oldest settled slot and reports that by `tracing` warnings and [`evicted`](Self::evicted):
/// an evicted event is handled again if it is redelivered. A held slot is never evicted.
#[derive(Debug)]
pub struct MemoryStore {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Slot, Entry>,
    /// Settled slots, oldest first. A settled slot stays settled, so each is listed once.
    settled: VecDeque<Slot>,
    last_fence: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    status: Status,
    attempts: u32,
    lapsed: u32,
    /// The fence of the last grant; kept after a write, so that the write may be repeated.
    fence: Fence,
}

#[derive(Debug)]
enum Status {
    Held { claimant: Uuid, until: Instant },
    Free,
    Settled,
}

/// The effect of a write on the counts of attempts and lapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempts {
    Kept,
    /// The attempt of the claim is taken back.
    TakenBack,
    Forgotten,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }
}

impl MemoryStore {
    /// The default capacity: at about 200 bytes per slot, 90 MB when it is full.
    // The map doubles beyond 458 752 slots, and a million would take 300 MB.
    pub const DEFAULT_CAPACITY: usize = 450_000;

    /// Returns a store with room for [`DEFAULT_CAPACITY`](Self::DEFAULT_CAPACITY) slots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a store with room for `capacity` slots; 0 counts as 1.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let state = State { last_fence: Fence::beginning(), ..State::default() };
        Self { capacity: capacity.max(1), state: Mutex::new(state) }
    }

    /// Returns how many slots were evicted to make room for others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.lock().evicted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, slot: &Slot) -> SlotState {
        match self.lock().slots.get(slot) {
            None => SlotState::UNKNOWN,
            Some(Entry { status: Status::Settled, .. }) => SlotState::Settled,
            Some(Entry { status: Status::Free, attempts, .. }) => SlotState::Free { attempts: *attempts },
            Some(Entry { status: Status::Held { until, .. }, attempts, .. }) => {
                let expires_in = until.saturating_duration_since(Instant::now());
                SlotState::Held { attempts: *attempts, expires_in }
            }
        }
    }

    fn prolong(&self, slot: &Slot, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        let until = end_of(lease, Instant::now());
        match self.lock().slots.get_mut(slot) {
            Some(Entry { status: Status::Held { until: ends, .. }, fence: granted, .. })
                if *granted == fence =>
            {
                *ends = until.max(*ends);
                Ok(())
            }
            _ => Err(StoreError::new(StoreErrorKind::Fenced)),
        }
    }

    fn write(&self, slot: &Slot, fence: Fence, status: Status, attempts: Attempts) -> Result<(), StoreError> {
        let mut state = self.lock();
        let fenced = || StoreError::new(StoreErrorKind::Fenced);
        let entry = state.slots.get_mut(slot).filter(|entry| entry.fence == fence).ok_or_else(fenced)?;
        match (&entry.status, &status) {
            (Status::Held { .. }, _) => {}
            // Repeated, since the answer was lost.
            (Status::Settled, Status::Settled) => return Ok(()),
            (Status::Free, Status::Free) if attempts != Attempts::Forgotten || entry.attempts == 0 => {
                return Ok(());
            }
            _ => return Err(fenced()),
        }
        let is_settled = matches!(status, Status::Settled);
        entry.status = status;
        entry.attempts = match attempts {
            Attempts::Kept => entry.attempts,
            Attempts::TakenBack => entry.attempts.saturating_sub(1),
            Attempts::Forgotten => 0,
        };
        if attempts == Attempts::Forgotten {
            entry.lapsed = 0;
        }
        if is_settled {
            state.settled.push_back(slot.clone());
        }
        Ok(())
    }
}

impl State {
    fn claim(&mut self, slot: &Slot, lease: Duration, capacity: usize) -> Result<Claim, StoreError> {
        let now = Instant::now();
        if self.slots.len() >= capacity && !self.slots.contains_key(slot) {
            self.make_room(now)?;
        }
        let place = self.slots.entry(slot.clone());
        let (attempt, lapsed) = match &place {
            hash_map::Entry::Vacant(_) => (1, 0),
            hash_map::Entry::Occupied(found) => match found.get() {
                Entry { status: Status::Settled, .. } => return Ok(Claim::Settled),
                // A repetition of this claim, whose answer was lost.
                Entry { status: Status::Held { claimant, .. }, attempts, lapsed, .. }
                    if *claimant == slot.claimant() =>
                {
                    (*attempts, *lapsed)
                }
                Entry { status: Status::Held { until, .. }, .. } if now < *until => {
                    return Ok(Claim::Held { retry_in: until.duration_since(now) });
                }
                Entry { status: Status::Held { .. }, attempts, lapsed, .. } => {
                    (attempts.saturating_add(1), lapsed.saturating_add(1))
                }
                entry => (entry.attempts.saturating_add(1), entry.lapsed),
            },
        };
        self.last_fence += 1;
        let fence = Fence::new(self.last_fence);
        let status = Status::Held { claimant: slot.claimant(), until: end_of(lease, now) };
        place.insert_entry(Entry { status, attempts: attempt, lapsed, fence });
        Ok(Claim::Acquired { fence, attempt, lapsed })
    }

    fn make_room(&mut self, now: Instant) -> Result<(), StoreError> {
        let is_idle = |entry: &Entry| match entry.status {
            Status::Held { until, .. } => until <= now,
            Status::Free | Status::Settled => true,
        };
        // Search only if no slot is settled.
        let evicted = self
            .settled
            .pop_front()
            .or_else(|| self.slots.iter().find(|(_, entry)| is_idle(entry)).map(|(slot, _)| slot.clone()))
            .ok_or_else(|| StoreError::new(StoreErrorKind::Full))?;
        self.slots.remove(&evicted);
        self.evicted += 1;
        if self.evicted.is_power_of_two() {
            tracing::warn!(
                slots = self.slots.len(),
                evicted = self.evicted,
                "dedupe store is full and evicts settled slots: old events may be handled again"
            );
        }
        Ok(())
    }
}

/// Returns the end of a lease. One that the clock cannot express practically never expires.
fn end_of(lease: Duration, now: Instant) -> Instant {
    now.checked_add(lease).unwrap_or(now + Duration::from_secs(u32::MAX.into()))
}

impl DedupeStore for MemoryStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move { self.lock().claim(slot, lease, self.capacity) }.boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.prolong(slot, fence, lease) }.boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.write(slot, fence, Status::Settled, Attempts::Kept) }.boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.write(slot, fence, Status::Free, Attempts::Kept) }.boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.write(slot, fence, Status::Free, Attempts::TakenBack) }.boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.write(slot, fence, Status::Free, Attempts::Forgotten) }.boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        async move { Ok(self.look(slot)) }.boxed()
    }

    /// Returns `None`: slots are remembered until the process ends or the store is full.
    fn retention(&self) -> Option<Duration> {
        None
    }
}
