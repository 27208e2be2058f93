//! The detection of events that were removed before the consumer had handled them, and of a durable ahead of its
//! stream.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind,
        checks::{age::Ages, look::Look},
        receive::arrivals::Arrived,
        shared::Shared,
        summary::Count,
    },
    nats::api_context::ApiContext,
};
use async_nats::jetstream::Context;
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The time until the next look when something seems wrong: a replica may lag, or messages may be on their way.
const AGAIN: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Checks that the durable is not ahead of its stream.
pub(crate) async fn check_end(context: &Context, shared: &Shared) -> Result<(), ConsumeError> {
    let is_ahead = |look: Option<Look>| look.filter(Look::is_ahead);
    if is_ahead(take(context, shared).await).is_none() {
        return Ok(());
    }
    sleep(AGAIN).await;
    is_ahead(take(context, shared).await).map_or(Ok(()), |look| Err(ahead(shared, &look)))
}

/// Looks at the durable and its stream again and again, often enough to notice events that are stored and removed
/// between two looks. Returns why the consumer has to stop, if it ever has to. Without the permission to read the
/// stream it sees nothing.
pub(crate) async fn watch(context: ApiContext, shared: Arc<Shared>) -> ConsumeError {
    if !shared.options.checks_streams {
        return std::future::pending().await;
    }
    let eighth = shared.max_age.map_or(LONGEST_PAUSE, |max_age| max_age / 8);
    let every = eighth.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let (mut gaps, mut ages) = (Gaps::default(), Ages::default());
    loop {
        let arrivals = &shared.arrivals;
        arrivals.begin_look();
        let before = arrivals.arrived();
        let look = take(&context, &shared).await;
        let finding = match &look {
            Some(now) => gaps.judge(now, [before, arrivals.arrived()], |removed| is_open(&shared, &removed)),
            // An outage proves nothing.
            None => Finding::Unsure,
        };
        match (finding, look) {
            (Finding::Ahead, Some(now)) => return ahead(&shared, &now),
            (Finding::Unsure, _) | (_, None) => arrivals.give_up_look(),
            (finding, Some(now)) => {
                if let Finding::Lost(lost) = finding {
                    report(&shared, &lost);
                }
                ages.learn(&now, arrivals.oldest());
                arrivals.end_look(now.deliveries, now.last, now.first.max(now.floor + 1));
                shared.state.meter.max_age(now.max_age);
                let is_idle = now.is_idle();
                gaps.go_on(now);
                shared.state.meter.oldest(if is_idle { Duration::ZERO } else { ages.of(gaps.due_from) });
            }
        }
        sleep(if gaps.has_doubts { AGAIN.min(every) } else { every }).await;
    }
}

async fn take(context: &Context, shared: &Shared) -> Option<Look> {
    timeout(ANSWER_WITHIN, Look::take(context, shared)).await.ok()?
}

/// Returns whether this process has an event of `removed` in flight, or waits for one to be redelivered.
fn is_open(shared: &Shared, removed: &Range<u64>) -> bool {
    let waiting = shared.arrivals.first_waiting(removed.start);
    waiting.is_some_and(|sequence| sequence < removed.end)
        || shared.in_progress.certain().iter().any(|sequence| removed.contains(sequence))
}

fn report(shared: &Shared, lost: &Lost) {
    let Lost { from, to, count } = *lost;
    shared.state.count_many(Count::Expired, count);
    tracing::error!(
        consumer = %shared.name, from, to, count,
        "stream has removed events that this consumer had not acknowledged, or the server has skipped them: \
         they are lost to it"
    );
}

fn ahead(shared: &Shared, look: &Look) -> ConsumeError {
    let (name, stream) = (&shared.name, shared.stream);
    let message = format!(
        "durable {name} has delivered up to {}, but {stream} ends at {}: the stream has lost its end, and the \
         server would never deliver new events up to there: delete the durable and build the consumer again; its store \
         skips what is settled",
        look.delivered, look.last
    );
    ConsumeError::new(ConsumeErrorKind::ConsumerAhead, message)
}

/// The findings of the looks so far.
#[derive(Debug, Default)]
struct Gaps {
    before: Option<Look>,
    /// The first sequence that was not known to be acknowledged at the last look.
    due_from: u64,
    /// True if something seemed wrong at the last look.
    has_doubts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Well,
    /// Another look has to confirm it.
    Unsure,
    Lost(Lost),
    Ahead,
}

/// Events that are lost, among the sequences `from` to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lost {
    from: u64,
    to: u64,
    count: u64,
}

impl Gaps {
    /// Compares `now` with the last look. `arrived` counts what had arrived here before the server was asked, and until
    /// it had answered; `is_open` returns whether this process still has work with some of these sequences.
    fn judge(&mut self, now: &Look, arrived: [Arrived; 2], is_open: impl Fn(Range<u64>) -> bool) -> Finding {
        let missing = self.before.as_ref().map_or(0, |before| before.missing(now, arrived));
        let removed = self.removed(now).filter(|removed| {
            // The ack floor alone does not show it: the server lifts it over removed events. Those that were
            // acknowledged in time cannot be told from the others, unless the durable has got beyond them.
            is_open(removed.clone()) || (!now.is_idle() && now.floor < now.first)
        });
        let is_doubtful = now.is_ahead() || (missing > 0 && removed.is_none());
        let had_doubts = std::mem::replace(&mut self.has_doubts, is_doubtful);
        if is_doubtful && !had_doubts {
            return Finding::Unsure;
        }
        self.has_doubts = false;
        match (now.is_ahead(), removed, &self.before) {
            (true, ..) => Finding::Ahead,
            (_, Some(removed), _) => {
                let (from, to) = (removed.start, removed.end - 1);
                Finding::Lost(Lost { from, to, count: missing.max(removed.end - removed.start) })
            }
            (_, None, Some(before)) if missing > 0 => {
                Finding::Lost(Lost { from: before.delivered + 1, to: before.last, count: missing })
            }
            _ => Finding::Well,
        }
    }

    /// Returns the sequences that were due at the last look and are no longer in the stream.
    fn removed(&self, now: &Look) -> Option<Range<u64>> {
        self.before.as_ref().map(|_| self.due_from..now.first).filter(|removed| !removed.is_empty())
    }

    fn go_on(&mut self, now: Look) {
        let acknowledged = if now.is_idle() { now.last_before } else { now.floor };
        self.due_from = self.due_from.max(now.first).max(acknowledged + 1);
        self.before = Some(now);
    }
}

#[cfg(test)]
#[path = "gap_tests.rs"]
mod tests;
