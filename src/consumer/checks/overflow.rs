//! The detection of deliveries that the client dropped because its subscription had no room for them.
//!
//! async-nats keeps the messages of a subscription in a channel and drops those that do not fit; it reports that only
//! to the event callback of the host. Here the open requests show it: each ends with its last message, or with a status
//! that says how many messages it lacks, and has heartbeats until then. If all of them have ended, or are silent
//! although the server answers and the connection is up, the messages that are still missing were delivered and did not
//! arrive.

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
/// The longest delay of a late message: requests that end at the same time do so in any order.
const LATE: Duration = Duration::from_secs(1);

/// Requests that seem to have ended before all their messages arrived.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Option<Silent>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent {
    /// When one of them was last heard of.
    pub(crate) since: Instant,
    /// The number of the last of the requests.
    pub(crate) last: u64,
    pub(crate) last_sent: Instant,
    /// The number of messages that were still to arrive.
    pub(crate) outstanding: usize,
    /// The count of connections when they were sent.
    pub(crate) connects: u64,
}

impl Silence {
    /// Notes the silence, unless an earlier one is still to be judged.
    pub(crate) fn begin(&self, silent: Silent) {
        self.lock().get_or_insert(silent);
    }

    /// Ends the silence if it is one of the request with this number, which was heard of after all.
    pub(crate) fn broken_by(&self, request: u64) {
        self.lock().take_if(|silent| request <= silent.last);
    }

    /// Returns the requests that have been silent long enough to be judged.
    pub(crate) fn lasting(&self) -> Option<Silent> {
        self.lock().filter(|silent| silent.since.elapsed() >= LATE)
    }

    /// Ends the silence that was there before the server was asked. Returns it if it lasted until the server answered.
    fn end(&self, before: Option<Silent>) -> Option<Silent> {
        self.lock().take_if(|silent| before == Some(*silent))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Silent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A judge of silences, by the state of the durable that the server reports.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    leader: Option<String>,
    /// When a new leader was seen, which does not know the requests that its predecessor received.
    leads_since: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Judge {
    /// Judges the requests that were silent `before` the server was asked, by its answer, if there is one.
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
        // What is not in flight here may be in flight in other processes.
        let elsewhere = info.num_ack_pending.saturating_sub(shared.in_progress.len());
        let dropped = silent.outstanding.min(elsewhere);
        if dropped == 0 || self.warned_at.is_some_and(|at| now.duration_since(at) < EVERY) {
            return;
        }
        self.warned_at = Some(now);
        tracing::warn!(
            consumer = %shared.name, dropped, max_prefetch = shared.options.max_prefetch,
            "deliveries have not arrived and are redelivered after the ack wait: the client drops messages that a \
             subscription has no room for. Set ConnectOptions::subscription_capacity to more than max_prefetch and \
             max_in_flight, or lower them"
        );
    }

    /// Returns whether the present leader has received all of these requests.
    fn has_led(&self, silent: &Silent) -> bool {
        // By then, earlier requests, which an earlier leader may have received, have expired.
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
