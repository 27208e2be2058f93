//! The loop of a relay: each step starts what can be started and handles the next result.

mod shutdown;

use crate::{
    jitter,
    nats::connection_log::ConnectionLog,
    outbox::{
        OutboxError, OutboxErrorKind,
        relay::{
            OutboxRelay,
            flight::Flight,
            jobs::{Answer, Jobs},
            lanes::{Lanes, OF_EACH_UNIT},
            publish_group::Published,
        },
        row::Row,
        table::{LEASE, Look, PRUNE_BATCH, Report, Signals},
    },
    publish::{PublishError, PublishErrorKind},
    report::report,
    telemetry::log_limit::{LogLimit, limited},
};
use async_nats::connection::State;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use uuid::Uuid;

/// The most events that a relay holds, in flight and waiting together.
const WINDOW: usize = 1000;
/// The most bytes of their payload, plus one event. Events of the usual size stay far below.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Interval at which a relay polls for rows, renews its lease, or tries to take the lead.
const TICK: Duration = Duration::from_secs(1);
/// Interval of the search for sent events to remove, as long as there are few.
const PRUNE_EVERY: Duration = Duration::from_secs(10);

/// The state of a running relay.
pub(super) struct Running {
    pub(super) relay: OutboxRelay,
    id: Uuid,
    /// The end of the lead by this process's clock, which is not after the lease expiry in the database.
    leads_until: Option<Instant>,
    lanes: Lanes,
    flight: Flight,
    jobs: Jobs,
    /// The end of the pause after a failure of the database.
    asks_after: Instant,
    report: Report,
    /// True if there may be rows that it does not hold.
    may_be_more: bool,
    /// The most bytes of a look: reduced after a failed one.
    look_bytes: usize,
    /// True if it is time to take the lead or renew the lease.
    is_due: bool,
    next_prune: Instant,
    ticks: Interval,
    failures: Failures,
    lines: LogLimit,
    connection: ConnectionLog,
}

/// Resets the backlog, however the relay ends.
impl Drop for Running {
    fn drop(&mut self) {
        self.relay.progress.holds(0);
    }
}

/// The failed publishes since the last tick, logged together, since an outage causes many.
#[derive(Default)]
struct Failures {
    count: u64,
    last: Option<PublishError>,
}

impl Running {
    pub(super) fn new(relay: OutboxRelay) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lines = LogLimit::new(relay.table.name());
        Self {
            connection: ConnectionLog::new(relay.client.clone()),
            flight: Flight::new(relay.publisher.clone()),
            jobs: Jobs::new(Arc::clone(&relay.table)),
            relay,
            id: Uuid::new_v4(),
            leads_until: None,
            lanes: Lanes::default(),
            asks_after: Instant::now(),
            report: Report::default(),
            may_be_more: true,
            look_bytes: WINDOW_BYTES,
            is_due: true,
            next_prune: Instant::now() + jitter::spread(PRUNE_EVERY),
            ticks,
            failures: Failures::default(),
            lines,
        }
    }

    pub(super) async fn publish_until(
        &mut self,
        shutdown: impl Future<Output = ()> + Send,
        signals: &Signals,
    ) -> Result<(), OutboxError> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = signals.rows.notified() => self.may_be_more = true,
                () = signals.lead.notified() => self.is_due = true,
                stepped = self.step() => stepped?,
            }
        }
    }

    /// Starts what can be started, and handles the next result.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    async fn step(&mut self) -> Result<(), OutboxError> {
        self.start_publishing();
        self.start_jobs();
        self.relay.progress.holds(self.lanes.len());
        tokio::select! {
            Some(published) = self.flight.next() => self.all_published(published)?,
            answer = self.jobs.next() => self.answered(answer)?,
            _ = self.ticks.tick() => self.tick(),
        }
        Ok(())
    }

    fn tick(&mut self) {
        (self.is_due, self.may_be_more) = (true, true);
        let Failures { count, last } = std::mem::take(&mut self.failures);
        if let Some(error) = last {
            limited!(self.lines, warn, "failed to publish outbox events; retrying", count, error = %report(&error));
        }
        self.lines.report();
        self.connection.look(&self.lines);
    }

    fn leads(&self) -> bool {
        self.leads_until.is_some_and(|until| Instant::now() < until)
    }

    /// Gives back waiting rows, since another relay may lead by now and hold them.
    fn give_up(&mut self) {
        self.lanes.give_up_waiting();
        self.jobs.drop_look();
    }

    /// Begins publishing one row of each ready unit, if this relay leads.
    fn start_publishing(&mut self) {
        let Some(leads_until) = self.leads_until.filter(|_| self.leads()) else {
            self.give_up();
            return;
        };
        // A message sent while disconnected would stay in the client's buffer and go out after this relay gave up on
        // it.
        if self.relay.client.connection_state() != State::Connected {
            return;
        }
        if self.flight.waits_for_batch() {
            return;
        }
        let (mut rows, mut failing) = (Vec::new(), Vec::new());
        while let Some(row) = self.lanes.next() {
            match row.clone().into_encoded(self.relay.publisher.cloud_events()) {
                Err(error) => self.quarantine(&row, error),
                Ok(event) if self.lanes.is_failing(&row.uri) => failing.push((row, event)),
                Ok(event) => rows.push((row, event)),
            }
        }
        self.flight.begin(rows, leads_until);
        // Any of them could fail a batch again.
        self.flight.begin_each(failing, leads_until);
    }

    fn all_published(&mut self, published: Vec<Published>) -> Result<(), OutboxError> {
        published.into_iter().try_for_each(|published| self.published(published))
    }

    fn published(&mut self, (row, published): Published) -> Result<(), OutboxError> {
        match published {
            Ok(receipt) => {
                self.relay.progress.published(receipt.is_duplicate());
                self.report.sent.push(row.id);
                self.lanes.done(&row);
            }
            // No attempt can succeed.
            Err(error) if matches!(error.kind(), PublishErrorKind::Invalid | PublishErrorKind::TooLarge) => {
                self.quarantine(&row, &report(&error).to_string());
            }
            Err(error) if error.kind() == PublishErrorKind::Disconnected => {
                return Err(OutboxError::caused(OutboxErrorKind::Disconnected, error));
            }
            Err(error) => {
                self.failures.count += 1;
                self.failures.last = Some(error);
                self.lanes.failed(&row);
            }
        }
        Ok(())
    }

    /// Quarantines a row. Later events of its unit continue: they are independent, and a unit must not wait forever.
    fn quarantine(&mut self, row: &Row, error: &str) {
        limited!(
            self.lines,
            error,
            "outbox event can never be published and is quarantined",
            id = row.id,
            uri = row.uri,
            error
        );
        self.relay.progress.quarantined();
        self.report.quarantined.push((row.id, error.to_owned()));
        self.lanes.done(row);
    }

    /// Starts database requests, one of each kind at a time: rows acknowledged during a mark are marked together after
    /// it.
    fn start_jobs(&mut self) {
        let now = Instant::now();
        if now < self.asks_after {
            return;
        }
        if self.is_due && !self.jobs.asks_for_lead() {
            self.is_due = false;
            self.jobs.ask_for_lead(self.id);
        }
        if !self.report.is_empty() && !self.jobs.marks() {
            self.jobs.mark(std::mem::take(&mut self.report));
        }
        if self.leads() {
            self.start_look();
            if now >= self.next_prune && !self.jobs.prunes() {
                self.jobs.prune();
            }
        }
    }

    fn start_look(&mut self) {
        let rows = WINDOW.saturating_sub(self.lanes.len());
        let bytes = WINDOW_BYTES.saturating_sub(self.lanes.bytes());
        let has_room = rows >= WINDOW / 4 && bytes >= WINDOW_BYTES / 4;
        if !self.may_be_more || !has_room || self.jobs.looks() {
            return;
        }
        self.may_be_more = false;
        if self.lanes.can_take_more() {
            let (blocked, held) = (self.lanes.blocked(), self.lanes.held());
            let bytes = bytes.min(self.look_bytes);
            self.jobs.look(Look { rows, bytes, of_each_unit: OF_EACH_UNIT, held, blocked });
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<(), OutboxError> {
        match answer {
            Answer::Lead(since) => self.led(since),
            Answer::Marked(report) => self.lanes.forget(&report),
            Answer::Found(rows) => {
                self.look_bytes = (self.look_bytes * 2).min(WINDOW_BYTES);
                self.may_be_more |= !rows.is_empty();
                self.lanes.add(rows);
            }
            Answer::Pruned(count) => {
                let pause = if count < PRUNE_BATCH.unsigned_abs() { PRUNE_EVERY } else { Duration::ZERO };
                self.next_prune = Instant::now() + jitter::spread(pause);
            }
            Answer::NotMarked(report, error) => {
                self.report.extend(report);
                return self.failed(error);
            }
            Answer::NotFound(error) => {
                self.look_bytes = (self.look_bytes / 2).max(1);
                return self.failed(error);
            }
            Answer::Failed(error) => return self.failed(error),
        }
        Ok(())
    }

    fn failed(&mut self, error: OutboxError) -> Result<(), OutboxError> {
        if error.kind() == OutboxErrorKind::Mismatch {
            return Err(error);
        }
        // Logged once for requests that failed together.
        if Instant::now() >= self.asks_after {
            limited!(self.lines, warn, "outbox database is not available; retrying", error = %report(&error));
        }
        (self.is_due, self.may_be_more) = (true, true);
        self.asks_after = Instant::now() + jitter::spread(TICK);
        Ok(())
    }

    fn led(&mut self, since: Option<Instant>) {
        let Some(since) = since else {
            if self.leads_until.take().is_some() {
                tracing::warn!(relay = %self.id, "lost the lead: another relay publishes the outbox");
            }
            return self.give_up();
        };
        if !self.leads() {
            // Another relay may have led in the meantime.
            self.give_up();
        }
        if self.leads_until.is_none() {
            let outbox = self.relay.table.name();
            tracing::info!(relay = %self.id, outbox, "took the lead: this relay publishes the outbox");
        }
        self.leads_until = Some(since + LEASE);
        // After so slow an answer, renew at once.
        self.is_due |= since.elapsed() >= TICK;
    }
}
