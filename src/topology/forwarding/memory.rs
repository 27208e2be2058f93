//! The memory of a bridge between two looks at forwarding.

use super::{
    look::{Access, Look, Messages, Origin, Unread},
    proof::{Progress, Proof},
};
use crate::topology::StreamInfo;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The time for which messages that this user may not read are not asked for again: each request costs a timeout, or a
/// line in the log of the server.
const UNREADABLE_FOR: Duration = Duration::from_secs(60);

/// The proof of a bridge and its watches, which they share.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    proof: Proof,
    unreadable_since: Option<Instant>,
    /// For lack of a proof: since when the broker reports that something is wrong.
    bad_since: Option<Instant>,
}

/// The result of one look.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) progress: Option<Progress>,
    pub(super) origin: Origin,
}

impl Memory {
    /// Looks at both streams and takes what is found; `choco` was read just before.
    pub(super) async fn look(&self, info: &StreamInfo, choco: &Access, origin: &Access) -> Seen {
        // One look at a time: an older one must not be taken after a newer one.
        let mut remembered = self.0.lock().await;
        let is_refused = remembered.unreadable_since.is_some_and(|since| since.elapsed() < UNREADABLE_FOR);
        let messages = if is_refused { Err(Unread::Refused) } else { Messages::read(choco, origin).await };
        // Read last, so that it has every event that Choco may have.
        let origin = Origin::read(origin).await;
        let now = Instant::now();
        if !is_refused {
            // What was read once may be read, and only takes longer.
            let seems_refused = messages == Err(Unread::Refused) && remembered.proof.progress(now).is_none();
            remembered.unreadable_since = seems_refused.then_some(now);
        }
        let look = match (&origin, messages) {
            (Origin::Found(origin), Ok(messages)) => Look::of(messages, origin, info),
            _ => None,
        };
        match (look, &origin) {
            (Some(look), _) => remembered.proof.see(now, &look),
            (None, Origin::Missing) => remembered.proof.see_no_origin(now),
            (None, _) => remembered.proof.see_nothing(now),
        }
        Seen { progress: remembered.proof.progress(now), origin }
    }

    /// Takes whether the hints of the broker are bad. Returns for how long they have been.
    pub(super) async fn hints(&self, are_bad: bool) -> Option<Duration> {
        let (mut remembered, now) = (self.0.lock().await, Instant::now());
        remembered.bad_since = are_bad.then(|| remembered.bad_since.unwrap_or(now));
        remembered.bad_since.map(|since| now.saturating_duration_since(since))
    }

    /// Returns what the last look has found, as of now.
    pub(super) async fn progress(&self) -> Option<Progress> {
        self.0.lock().await.proof.progress(Instant::now())
    }

    /// Notes that the broker did not answer.
    pub(super) async fn see_nothing(&self) {
        let mut remembered = self.0.lock().await;
        remembered.proof.see_nothing(Instant::now());
        remembered.bad_since = None;
    }

    pub(super) async fn next_heal(&self) -> Option<Duration> {
        self.0.lock().await.proof.next_heal(Instant::now())
    }

    pub(super) async fn is_healing_of_use(&self) -> bool {
        let remembered = self.0.lock().await;
        remembered.proof.next_heal(Instant::now()).is_none() && remembered.proof.is_healing_of_use()
    }

    pub(super) async fn heals(&self) {
        self.0.lock().await.proof.heals(Instant::now());
    }
}
