//! Events whose time in the stream ends before they are acknowledged.

use super::{
    decide::{Ending, Step, Write},
    process::Shared,
};
use crate::ack_subject::AckSubject;
use async_nats::jetstream::{Context, consumer::pull, stream::Stream};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// No delay is made shorter than this, so that an event that cannot be dealt with does not come round and round.
const SHORTEST_DELAY: Duration = Duration::from_millis(100);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Asks for no delay that an event would not survive: half of what it has left at most, so that every attempt and its
/// dead letter come in time.
pub(super) fn capped(step: Step, max_age: Option<Duration>, reply: &str) -> Step {
    let cap = |delay: Duration| match max_age.zip(age(reply)) {
        Some((max_age, age)) => delay.min((max_age.saturating_sub(age) / 2).max(SHORTEST_DELAY)),
        None => delay,
    };
    let cap_ending = |ending| match ending {
        Ending::Retried(delay) => Ending::Retried(cap(delay)),
        Ending::Postponed(delay) => Ending::Postponed(cap(delay)),
        other => other,
    };
    match step {
        Step::Write { what: Write::Release(ending), after } => {
            Step::Write { what: Write::Release(cap_ending(ending)), after }
        }
        Step::End(ending) => Step::End(cap_ending(ending)),
        other => other,
    }
}

/// How old a message is, by the server's timestamp in its ack subject and this machine's clock.
fn age(reply: &str) -> Option<Duration> {
    let published = SystemTime::UNIX_EPOCH.checked_add(AckSubject::parse(reply)?.stored_at)?;
    // One of the future is new.
    Some(SystemTime::now().duration_since(published).unwrap_or_default())
}

/// Notices when the stream has removed what this consumer was still due.
#[derive(Debug)]
pub(super) struct GapWatch {
    pub(super) context: Context,
    pub(super) shared: Arc<Shared>,
    /// The first sequence that was not known to be acknowledged at the last look.
    pub(super) owed_from: Option<u64>,
}

impl GapWatch {
    /// Looks for ever, often enough for what comes and goes between two looks to be noticed. Without a limit of age, or
    /// the permission to look at the stream, there is nothing to look for.
    pub(super) async fn watch(mut self) {
        let (Some(max_age), Ok(stream)) =
            (self.shared.max_age, self.context.get_stream_no_info(self.shared.stream).await)
        else {
            return;
        };
        let every = (max_age / 8).clamp(Duration::from_millis(100), Duration::from_secs(60));
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // An outage shows nothing.
            let _looked = timeout(ANSWER_WITHIN, self.look(&stream)).await;
        }
    }

    async fn look(&mut self, stream: &Stream<()>) -> Option<()> {
        // The stream first: all that it has now is among what the durable then knows of.
        let state = stream.get_info().await.ok()?.state;
        let name = self.shared.name.as_str();
        let durable = stream.get_consumer::<pull::Config>(name).await.ok()?;
        let info = durable.cached_info();
        let first = state.first_sequence;
        if let Some(from) = self.owed_from.filter(|from| *from < first) {
            let to = first - 1;
            self.shared.expired.fetch_add(first - from, Ordering::Relaxed);
            tracing::error!(
                consumer = %self.shared.name, from, to,
                "stream has removed events that this consumer had not acknowledged: they are lost to it"
            );
        }
        self.owed_from = Some(if info.num_pending == 0 && info.num_ack_pending == 0 {
            state.last_sequence + 1
        } else {
            // Not by the floor of the durable alone: the server lifts it over what has expired.
            first.max(info.ack_floor.stream_sequence + 1).max(self.owed_from.unwrap_or_default())
        });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(prefix: &str, age: Duration) -> String {
        let published = SystemTime::now().checked_sub(age).unwrap();
        let published = published.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        format!("$JS.ACK.{prefix}STRATT_EVENTS.c.1.5.5.{}.0", published.as_nanos())
    }

    #[test]
    fn no_delay_outlasts_half_of_what_is_left() {
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let after =
            |delay, max_age, reply: &str| match capped(Step::End(Ending::Retried(delay)), max_age, reply) {
                Step::End(Ending::Retried(delay)) => delay,
                other => panic!("{other:?}"),
            };
        for prefix in ["", "_.AccountHash."] {
            let reply = reply(prefix, 59 * minute);
            let left = after(hour, Some(hour), &reply);
            assert!(left <= minute / 2 && left > minute / 3, "{left:?}");
            assert_eq!(after(minute / 4, Some(hour), &reply), minute / 4);
            assert_eq!(after(hour, Some(minute), &reply), SHORTEST_DELAY);
            assert_eq!(after(hour, None, &reply), hour);
        }
        assert_eq!(after(hour, Some(minute), "not an ack subject"), hour);
        let release = Step::Write { what: Write::Release(Ending::Postponed(hour)), after: minute };
        let capped = capped(release, Some(hour), &reply("", 59 * minute));
        assert!(
            matches!(capped, Step::Write { what: Write::Release(Ending::Postponed(delay)), .. } if delay < minute)
        );
    }
}
