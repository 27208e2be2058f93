//! The relay: publishes what is committed, in the order of each unit, and marks what the broker has acknowledged.

#[cfg(feature = "metrics")]
mod backlog;
mod flight;
mod group;
mod lanes;
mod pace;
mod progress;

use super::{
    OutboxError, OutboxErrorKind,
    row::Row,
    table::{Exchange, LEASE, PRUNE_BATCH, Report, Signals, Table, Turn},
};
use crate::{
    bridge::EventBridge,
    connection_log::ConnectionLog,
    jitter,
    log_limit::{LogLimit, limited},
    publish::{PublishError, PublishErrorKind, Publisher},
};
use async_nats::{Client, connection::State};
use flight::Flight;
use futures::{
    FutureExt,
    future::{BoxFuture, Fuse, FusedFuture},
};
use group::Published;
use lanes::Lanes;
pub use progress::RelayProgress;
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

/// How many events a relay holds at most, published and waiting together.
const WINDOW: usize = 1000;
/// How often it looks for what it was not told of, gives a sign of life, or asks whether it may lead.
const TICK: Duration = Duration::from_secs(1);
/// How often it looks for sent events that were kept long enough, as long as there are few.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// How long the last acknowledgements, and then the last marks, may take at shutdown.
const AT_THE_END: Duration = Duration::from_secs(5);
/// How long the database may take for an exchange.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes the events of an outbox.
///
/// Any number of processes may run one; one of them is at work, and another takes over when it ends, within
/// milliseconds when it is shut down and some 5 s after its death.
#[derive(Debug)]
#[must_use = "a relay does nothing until it runs"]
pub struct OutboxRelay {
    client: Client,
    publisher: Publisher,
    table: Arc<dyn Table>,
    progress: RelayProgress,
}

/// What a relay did between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RelaySummary {
    /// Events the broker has acknowledged.
    pub published: u64,
    /// Those of them that the broker had already.
    pub duplicates: u64,
    /// Events that can never be published, and were set aside.
    pub set_aside: u64,
}

impl OutboxRelay {
    pub(super) fn new(bridge: &EventBridge, table: Arc<dyn Table>) -> Self {
        let (client, publisher) = (bridge.client().clone(), bridge.publisher().clone());
        Self { client, publisher, table, progress: RelayProgress::default() }
    }

    /// Tells what it does once it runs.
    #[must_use]
    pub fn progress(&self) -> RelayProgress {
        self.progress.clone()
    }

    /// Publishes until `shutdown` resolves, then waits for what is under way, marks it, and gives up the lead.
    ///
    /// What was committed and is not under way yet stays for the next relay. Who wants it published first, waits until the
    /// outbox's status shows no backlog, and then lets `shutdown` resolve.
    ///
    /// Outages of the broker and of the database are waited out.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](OutboxErrorKind::Mismatch) when the table is missing, [`Disconnected`](OutboxErrorKind::Disconnected)
    /// when the connection to the broker is closed for good.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped, and no task outlives it: another relay publishes again what was not
    /// yet marked, under the same message id, once the lease of this one is over.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<RelaySummary, OutboxError> {
        let signals = Arc::new(Signals::default());
        let mut watching = JoinSet::new();
        let (table, told) = (Arc::clone(&self.table), Arc::clone(&signals));
        watching.spawn(async move { table.watch(told).await });
        #[cfg(feature = "metrics")]
        watching.spawn(backlog::measure(Arc::clone(&self.table)));
        let mut running = Running::new(self);
        let stopped = running.publish_until(shutdown, &signals).await;
        running.finish().await;
        stopped.map(|()| running.relay.progress.summary())
    }
}

type Exchanged = (Instant, Report, Result<Turn, OutboxError>);

struct Running {
    relay: OutboxRelay,
    id: Uuid,
    /// Until when this relay leads, by its own clock: no later than by the database's.
    leads_until: Option<Instant>,
    lanes: Lanes,
    flight: Flight,
    exchange: Fuse<BoxFuture<'static, Exchanged>>,
    /// The database has failed, and is not asked again before.
    exchange_after: Instant,
    report: Report,
    /// There may be rows that it does not have.
    may_be_more: bool,
    /// Whether the lead is to be asked for, or a sign of life to be given.
    is_due: bool,
    next_prune: Instant,
    failures: Failures,
    lines: LogLimit,
    connection: ConnectionLog,
}

/// However it ends, it holds nothing any more.
impl Drop for Running {
    fn drop(&mut self) {
        self.relay.progress.holds(0);
    }
}

/// Publishes that failed since the last tick, told together: in an outage there are many.
#[derive(Default)]
struct Failures {
    count: u64,
    last: Option<PublishError>,
}

impl Running {
    fn new(relay: OutboxRelay) -> Self {
        let lines = LogLimit::new(relay.table.name());
        Self {
            connection: ConnectionLog::new(relay.client.clone()),
            flight: Flight::new(relay.publisher.clone()),
            relay,
            id: Uuid::new_v4(),
            leads_until: None,
            lanes: Lanes::default(),
            exchange: Fuse::terminated(),
            exchange_after: Instant::now(),
            report: Report::default(),
            may_be_more: true,
            is_due: true,
            next_prune: Instant::now() + jitter::spread(PRUNE_EVERY),
            failures: Failures::default(),
            lines,
        }
    }

    async fn publish_until(
        &mut self,
        shutdown: impl Future<Output = ()> + Send,
        signals: &Signals,
    ) -> Result<(), OutboxError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_publishing();
            self.start_exchange();
            self.relay.progress.holds(self.lanes.len());
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(published) = self.flight.next() => self.all_published(published)?,
                exchanged = &mut self.exchange, if !self.exchange.is_terminated() => self.exchanged(exchanged)?,
                () = signals.rows.notified() => self.may_be_more = true,
                () = signals.lead.notified() => self.is_due = true,
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        (self.is_due, self.may_be_more) = (true, true);
        let Failures { count, last } = std::mem::take(&mut self.failures);
        if let Some(error) = last {
            let cause = error.source().map(ToString::to_string);
            limited!(self.lines, warn, "events of the outbox could not be published and are tried again", count, %error, cause);
        }
        self.lines.report();
        self.connection.look(&self.lines);
    }

    /// One row of each unit at a time, as long as this relay leads.
    fn start_publishing(&mut self) {
        let Some(leads_until) = self.leads_until.filter(|until| Instant::now() < *until) else {
            // Another relay may lead by now, and has these rows.
            self.lanes.give_up_waiting();
            return;
        };
        // What is sent while disconnected waits in the client, and goes out when nobody waits for it any more.
        if self.relay.client.connection_state() != State::Connected {
            return;
        }
        if self.flight.waits_for_batch() {
            return;
        }
        let mut rows = Vec::new();
        while let Some(row) = self.lanes.next() {
            match row.clone().into_fact(self.relay.publisher.writes_cloud_events()) {
                Err(error) => self.set_aside(&row, error),
                Ok(fact) => rows.push((row, fact)),
            }
        }
        self.flight.begin(rows, leads_until);
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
            // No attempt will ever succeed.
            Err(error) if matches!(error.kind(), PublishErrorKind::Invalid | PublishErrorKind::TooLarge) => {
                self.set_aside(&row, &error.to_string());
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

    /// Its successors go on: each event stands for itself, and a unit must not wait for ever.
    fn set_aside(&mut self, row: &Row, error: &str) {
        limited!(
            self.lines,
            error,
            "event of the outbox can never be published and is set aside",
            id = row.id,
            uri = row.uri,
            error
        );
        self.relay.progress.set_aside();
        self.report.set_aside.push((row.id, error.to_owned()));
        self.lanes.done(row);
    }

    /// One at a time: what is acknowledged meanwhile is marked together by the next.
    fn start_exchange(&mut self) {
        let now = Instant::now();
        let leads = self.leads_until.is_some_and(|until| now < until);
        let room = WINDOW.saturating_sub(self.lanes.len());
        let wants_rows = self.may_be_more && leads && room >= WINDOW / 4 && self.lanes.can_take_more();
        let has_reason = !self.report.is_empty() || wants_rows || self.is_due;
        if !self.exchange.is_terminated() || !has_reason || now < self.exchange_after {
            return;
        }
        let room = if wants_rows || !leads { room } else { 0 };
        let exchange = Exchange { prunes: leads && now >= self.next_prune, ..self.exchange_of(room) };
        self.may_be_more &= room == 0;
        self.is_due = false;
        self.exchange = in_time(Arc::clone(&self.relay.table), exchange).boxed().fuse();
    }

    fn exchange_of(&mut self, room: usize) -> Exchange {
        Exchange {
            relay: self.id,
            report: std::mem::take(&mut self.report),
            room,
            held: self.lanes.held(),
            resting: self.lanes.resting(),
            prunes: false,
        }
    }

    fn exchanged(&mut self, (begun, report, turn): Exchanged) -> Result<(), OutboxError> {
        match turn {
            Ok(turn) => {
                self.lanes.forget(&report);
                self.take_turn(begun, turn);
            }
            Err(error) if error.kind() == OutboxErrorKind::Mismatch => return Err(error),
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                limited!(self.lines, warn, "outbox is not available", %error, cause);
                self.report.extend(report);
                (self.is_due, self.may_be_more) = (true, true);
                self.exchange_after = Instant::now() + jitter::spread(TICK);
            }
        }
        Ok(())
    }

    fn take_turn(&mut self, begun: Instant, turn: Turn) {
        match turn {
            Turn::Leads { rows, pruned } => {
                if self.leads_until.is_none() {
                    let outbox = self.relay.table.name();
                    tracing::info!(relay = %self.id, outbox, "this relay publishes the outbox");
                }
                self.leads_until = Some(begun + LEASE);
                self.may_be_more |= !rows.is_empty();
                self.lanes.add(rows);
                if let Some(pruned) = pruned {
                    let pause = if pruned < PRUNE_BATCH { PRUNE_EVERY } else { Duration::ZERO };
                    self.next_prune = Instant::now() + jitter::spread(pause);
                }
            }
            Turn::Waits => {
                if self.leads_until.take().is_some() {
                    tracing::warn!(relay = %self.id, "another relay publishes the outbox");
                }
                self.lanes.give_up_waiting();
            }
        }
    }

    /// Bounded: a broker or a database that is away must not keep the service from ending.
    async fn finish(&mut self) {
        let under_way = async {
            while let Some(published) = self.flight.next().await {
                // What has failed is left to the next relay.
                let _is_known = self.all_published(published);
            }
        };
        let _all_ended = timeout(AT_THE_END, under_way).await;
        match timeout(AT_THE_END, self.mark_the_last()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "last events could not be marked; they are published again");
            }
            Err(_elapsed) => {
                tracing::warn!("last events could not be marked in time; they are published again");
            }
        }
    }

    async fn mark_the_last(&mut self) -> Result<(), OutboxError> {
        if !self.exchange.is_terminated() {
            let (_, report, turn) = (&mut self.exchange).await;
            if turn.is_err() {
                self.report.extend(report);
            }
        }
        if !self.report.is_empty() {
            let exchange = self.exchange_of(0);
            self.relay.table.exchange(exchange).await?;
        }
        self.relay.table.step_down(self.id).await
    }
}

async fn in_time(table: Arc<dyn Table>, exchange: Exchange) -> Exchanged {
    let (begun, report) = (Instant::now(), exchange.report.clone());
    let turn = match timeout(EXCHANGE_TIMEOUT, table.exchange(exchange)).await {
        Ok(turn) => turn,
        Err(elapsed) => Err(OutboxError::caused(OutboxErrorKind::Unavailable, elapsed)),
    };
    (begun, report, turn)
}
