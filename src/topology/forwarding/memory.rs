//! What a bridge remembers of forwarding between two looks.

use super::{
    look::{Access, Look, Messages, Origin},
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
}

/// What one look has found.
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
        let messages = if is_refused { None } else { Messages::read(choco, origin).await };
        // Read last, so that it has every event that Choco may have.
        let origin = Origin::read(origin).await;
        let now = Instant::now();
        let is_readable = messages.is_some() || remembered.proof.progress(now).is_some();
        remembered.unreadable_since = match (&origin, remembered.unreadable_since) {
            (Origin::Found(_), since) if !is_readable => since.filter(|_| is_refused).or(Some(now)),
            _ => None,
        };
        let look = match (&origin, messages) {
            (Origin::Found(origin), Some(messages)) => Look::of(messages, origin, info),
            _ => None,
        };
        match (look, &origin) {
            (Some(look), _) => remembered.proof.see(now, &look),
            (None, Origin::Missing) => remembered.proof.see_no_origin(now),
            (None, _) => remembered.proof.see_nothing(now),
        }
        Seen { progress: remembered.proof.progress(now), origin }
    }

    /// Returns what the last look has found, as of now.
    pub(super) async fn progress(&self) -> Option<Progress> {
        self.0.lock().await.proof.progress(Instant::now())
    }

    /// Notes that the broker did not answer.
    pub(super) async fn see_nothing(&self) {
        self.0.lock().await.proof.see_nothing(Instant::now());
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
