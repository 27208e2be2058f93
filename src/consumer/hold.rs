//! Keeping held messages alive, so that the server does not redeliver what waits or runs here.

use async_nats::{Client, Subject};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The messages that are held: delivered, and not yet answered.
#[derive(Debug)]
pub(super) struct Holds {
    client: Client,
    /// A held message gives a sign of life this often; a quarter of the lease, which is no longer than the ack wait.
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    held: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    reply: Subject,
    sequence: u64,
    last_sign: Instant,
    /// No sign of life is given after this: a handler that cannot be stopped must not hold its message for ever.
    until: Option<Instant>,
    /// When the claim of the delivery ends, once it has one.
    lease_end: Option<Instant>,
}

impl Holds {
    pub(super) fn new(client: Client, lease: Duration) -> Arc<Self> {
        let every = (lease / 4).max(Duration::from_millis(10));
        Arc::new(Self { client, every, state: Mutex::default() })
    }

    /// Holds the message at `sequence` whose acks go to `reply`, until the hold is dropped.
    pub(super) fn hold(self: &Arc<Self>, sequence: u64, reply: Subject) -> Hold {
        let mut state = self.lock();
        state.next_id += 1;
        let id = state.next_id;
        state
            .held
            .insert(id, Held { reply, sequence, last_sign: Instant::now(), until: None, lease_end: None });
        Hold { id, holds: Arc::clone(self) }
    }

    /// How many messages are held.
    pub(super) fn len(&self) -> usize {
        self.lock().held.len()
    }

    /// How many messages are held, where several deliveries of one count once.
    pub(super) fn distinct(&self) -> usize {
        self.lock().held.values().map(|held| held.sequence).collect::<HashSet<_>>().len()
    }

    /// Whether this delivery was to end long ago: its handler blocks its thread.
    pub(super) fn has_stalled(&self, id: u64) -> bool {
        let lease_end = self.lock().held.get(&id).and_then(|held| held.lease_end);
        lease_end.is_some_and(|end| Instant::now() > end + self.every)
    }

    /// Gives signs of life for ever.
    pub(super) async fn keep_alive(self: Arc<Self>) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            for reply in self.due(now) {
                if let Err(error) = self.client.publish(reply, "+WPI".into()).await {
                    tracing::warn!(%error, "sign of life could not be sent");
                }
            }
        }
    }

    fn due(&self, now: Instant) -> Vec<Subject> {
        let mut state = self.lock();
        let alive = state.held.values_mut().filter(|held| held.until.is_none_or(|until| now < until));
        let due = alive.filter(|held| now.duration_since(held.last_sign) >= self.every);
        due.map(|held| {
            held.last_sign = now;
            held.reply.clone()
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One held message.
#[derive(Debug)]
pub(super) struct Hold {
    id: u64,
    holds: Arc<Holds>,
}

impl Hold {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The delivery has a claim, which ends at `lease_end`; no sign of life is given afterwards.
    pub(super) fn claimed(&self, lease_end: Instant) {
        self.change(|held| (held.until, held.lease_end) = (Some(lease_end), Some(lease_end)));
    }

    /// The delivery has no claim any more, and waits.
    pub(super) fn unclaimed(&self) {
        self.change(|held| (held.until, held.lease_end) = (None, None));
    }

    /// Gives no sign of life after `until`.
    pub(super) fn limit(&self, until: Instant) {
        self.change(|held| held.until = Some(until));
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.holds.lock().held.get_mut(&self.id) {
            change(held);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.lock().held.remove(&self.id);
    }
}
