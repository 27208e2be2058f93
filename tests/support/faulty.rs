use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::HashMap,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::dedupe::{
    Claim, DedupeStore, Fence, MemoryStore, Slot, SlotState, StoreError, StoreErrorKind,
};

/// A call of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Claim,
    Renew,
    Settle,
    Release,
    Defer,
    Forget,
    Peek,
}

/// The step after which a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiesAfter {
    Claim,
    Effect,
    Settle,
    DeadLetter,
    Forget,
}

impl FromStr for DiesAfter {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let points = [Self::Claim, Self::Effect, Self::Settle, Self::DeadLetter, Self::Forget];
        points.into_iter().find(|point| format!("{point:?}") == name).ok_or(name.to_owned())
    }
}

/// A store that fails on demand, over one that works.
#[derive(Debug)]
pub struct Faulty {
    right: Arc<dyn DedupeStore>,
    is_down: AtomicBool,
    failures: AtomicU32,
    calls: Mutex<HashMap<Call, u32>>,
    /// Delays these calls by this time once they are carried out.
    slow: Mutex<HashMap<Call, Duration>>,
    /// Loses this many of the next answers to these calls.
    lost: Mutex<HashMap<Call, u32>>,
    death: Option<DiesAfter>,
}

impl Default for Faulty {
    fn default() -> Self {
        Self::over(Arc::new(MemoryStore::new()), None)
    }
}

impl Faulty {
    pub fn over(right: Arc<dyn DedupeStore>, death: Option<DiesAfter>) -> Self {
        Self {
            right,
            is_down: false.into(),
            failures: 0.into(),
            calls: Mutex::default(),
            slow: Mutex::default(),
            lost: Mutex::default(),
            death,
        }
    }

    /// Makes every call fail from now on, or none.
    pub fn is_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Returns the number of calls that have failed.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::SeqCst)
    }

    /// Returns the number of these calls.
    pub fn calls(&self, call: Call) -> u32 {
        self.calls.lock().unwrap().get(&call).copied().unwrap_or_default()
    }

    /// These calls are carried out, and answered only after a pause.
    pub fn slow_down(&self, call: Call, pause: Duration) {
        self.slow.lock().unwrap().insert(call, pause);
    }

    /// Loses the answers to the next of these calls, which are carried out.
    pub fn lose_answers(&self, call: Call, count: u32) {
        self.lost.lock().unwrap().insert(call, count);
    }

    fn fail<T>(&self) -> Result<T, StoreError> {
        self.failures.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }

    fn die_at(&self, point: DiesAfter) {
        if self.death == Some(point) {
            std::process::abort();
        }
    }

    async fn call<T>(
        &self,
        call: Call,
        right: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        if self.is_down.load(Ordering::SeqCst) {
            return self.fail();
        }
        let answer = right.await?;
        let pause = self.slow.lock().unwrap().get(&call).copied().unwrap_or_default();
        tokio::time::sleep(pause).await;
        let is_lost = match self.lost.lock().unwrap().get_mut(&call) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        if is_lost { self.fail() } else { Ok(answer) }
    }
}

impl DedupeStore for Faulty {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            let claim = self.call(Call::Claim, self.right.claim(slot, lease)).await?;
            if matches!(claim, Claim::Acquired { .. }) {
                self.die_at(DiesAfter::Claim);
            }
            Ok(claim)
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(Call::Renew, self.right.renew(slot, fence, lease)).boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.die_at(DiesAfter::Effect);
            self.call(Call::Settle, self.right.settle(slot, fence)).await?;
            self.die_at(DiesAfter::Settle);
            Ok(())
        }
        .boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(Call::Release, self.right.release(slot, fence)).boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(Call::Defer, self.right.defer(slot, fence)).boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.die_at(DiesAfter::DeadLetter);
            self.call(Call::Forget, self.right.forget(slot, fence)).await?;
            self.die_at(DiesAfter::Forget);
            Ok(())
        }
        .boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.call(Call::Peek, self.right.peek(slot)).boxed()
    }

    fn retention(&self) -> Option<Duration> {
        self.right.retention()
    }
}
