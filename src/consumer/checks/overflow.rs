//! Notices deliveries that the client has dropped since its subscription had no room for them.
//!
//! async-nats keeps what arrives for a subscription in a channel, and drops what does not fit; only the event callback
//! of the host hears of it. Here it shows in the requests: each ends with its last message, or with a status that says
//! how many it lacks, and sends heartbeats until then. When all of them have ended, or nothing is heard of them
//! although the server answers and the connection stays, what is still to come was delivered and did not arrive.

use crate::{
    consumer::{receive::pull::EXPIRES, shared::Shared},
    nats::connection_log::connects,
};
use async_nats::jetstream::consumer::Info;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The shortest interval between two warnings.
const EVERY: Duration = Duration::from_secs(600);
/// The longest time that a late message may take: requests that end at the same time do so in any order.
const LATE: Duration = Duration::from_secs(1);

/// Requests that have ended, as far as is known, before all that they owed had come.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Option<Silent>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent {
    /// When the last sign of one of them came.
    pub(crate) since: Instant,
    /// The number of the last of the requests.
    pub(crate) last: u64,
    pub(crate) last_sent: Instant,
    /// The number of messages that were to come.
    pub(crate) outstanding: usize,
    /// The count of connections when they were sent.
    pub(crate) connects: u64,
}

impl Silence {
    /// Notes it, unless an earlier one is yet to be judged.
    pub(crate) fn begin(&self, silent: Silent) {
        self.lock().get_or_insert(silent);
    }

    /// The request with this number is heard of after all: it was late.
    pub(crate) fn broken_by(&self, request: u64) {
        self.lock().take_if(|silent| request <= silent.last);
    }

    /// Returns the requests that have been silent long enough to be judged.
    pub(crate) fn lasting(&self) -> Option<Silent> {
        self.lock().filter(|silent| silent.since.elapsed() >= LATE)
    }

    /// Ends what was there before the server was asked; returns it if it lasts until the server has answered.
    fn end(&self, before: Option<Silent>) -> Option<Silent> {
        self.lock().take_if(|silent| before == Some(*silent))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Silent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges the silence by what the server says of the durable.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    leader: Option<String>,
    /// When another leader was seen: it does not know the requests that the one before had.
    leads_since: Option<Instant>,
    told: Option<Instant>,
}

impl Judge {
    /// Judges what was silent `before` the server was asked, by its answer; `None` says nothing.
    pub(crate) fn judge(&mut self, shared: &Shared, before: Option<Silent>, info: Option<&Info>) {
        let silent = shared.silence.end(before);
        let Some(info) = info else { return };
        let now = Instant::now();
        let leader = info.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
        if self.leader.is_some() && self.leader != leader {
            self.leads_since = Some(now);
        }
        self.leader = leader;
        let connects = connects(&shared.client);
        let had_them = |silent: &Silent| !info.paused && silent.connects == connects && self.has_led(silent);
        let Some(silent) = silent.filter(had_them) else { return };
        // Beyond what is here, others may hold some.
        let elsewhere = info.num_ack_pending.saturating_sub(shared.in_progress.len());
        let dropped = silent.outstanding.min(elsewhere);
        if dropped == 0 || self.told.is_some_and(|told| now.duration_since(told) < EVERY) {
            return;
        }
        self.told = Some(now);
        tracing::warn!(
            consumer = %shared.name, dropped, max_in_flight = shared.options.max_in_flight,
            "deliveries have not arrived and come again after the ack wait: the client drops what a subscription has no \
             room for. Set ConnectOptions::subscription_capacity to more than max_in_flight, or lower that"
        );
    }

    /// Returns whether the present leader has received all of these requests.
    fn has_led(&self, silent: &Silent) -> bool {
        // Those that were sent before the last one and ended with the leader of that time are over by then.
        self.leads_since.is_none_or(|since| since + EXPIRES <= silent.last_sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(last: u64, since: Instant) -> Silent {
        Silent { since, last, last_sent: since, outstanding: 5, connects: 1 }
    }

    #[test]
    fn what_lasts_until_the_answer_is_judged_once() {
        let (silence, now) = (Silence::default(), Instant::now());
        silence.begin(silent(3, now));
        assert_eq!(silence.lasting(), None);
        silence.broken_by(3);
        silence.begin(silent(3, now.checked_sub(LATE).unwrap()));
        silence.begin(silent(4, now));
        let before = silence.lasting();
        assert_eq!(before.map(|silent| silent.last), Some(3));
        assert_eq!((silence.end(before), silence.end(before)), (before, None));
    }

    #[test]
    fn only_a_sign_of_one_of_the_requests_breaks_it() {
        let silence = Silence::default();
        silence.begin(silent(3, Instant::now().checked_sub(LATE).unwrap()));
        let before = silence.lasting();
        silence.broken_by(4);
        assert_eq!(silence.lasting(), before);
        silence.broken_by(2);
        assert_eq!((before.is_some(), silence.end(before)), (true, None));
    }

    #[test]
    fn requests_that_another_leader_may_have_had_say_nothing() {
        let since = Instant::now();
        let judge = Judge { leads_since: Some(since), ..Judge::default() };
        assert!(!judge.has_led(&silent(1, since)));
        assert!(judge.has_led(&silent(1, since + EXPIRES)));
        assert!(Judge::default().has_led(&silent(1, since)));
    }
}
