//! The work of a relay: a step starts what can be started, and takes the next result.

use super::{
    AT_THE_END, OutboxRelay,
    flight::Flight,
    group::Published,
    lanes::{Lanes, OF_EACH_UNIT},
};
use crate::{
    connection_log::ConnectionLog,
    jitter,
    log_limit::{LogLimit, limited},
    outbox::{
        OutboxError, OutboxErrorKind,
        row::Row,
        table::{Exchange, LEASE, Look, PRUNE_BATCH, Report, Signals, Table, Turn},
    },
    publish::{PublishError, PublishErrorKind},
};
use async_nats::connection::State;
use futures::{
    FutureExt,
    future::{BoxFuture, Fuse, FusedFuture},
};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::time::{Instant, Interval, MissedTickBehavior, error::Elapsed, interval, timeout};
use uuid::Uuid;

/// How many events a relay holds at most, published and waiting together.
const WINDOW: usize = 1000;
/// How many bytes of payload may wait. It is less with large events than with a thousand usual ones.
const BYTES: usize = 8 * 1024 * 1024;
/// How often it looks for what it was not told of, gives a sign of life, or asks whether it may lead.
const TICK: Duration = Duration::from_secs(1);
/// How often it looks for sent events that were kept long enough, as long as there are few.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// How long the database may take for an exchange, or for a look.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

type Exchanged = (Report, Result<Turn, OutboxError>);
type Looked = Result<Vec<Row>, OutboxError>;

pub(super) struct Running {
    pub(super) relay: OutboxRelay,
    id: Uuid,
    /// Until when this relay leads, by its own clock: no later than by the database's.
    leads_until: Option<Instant>,
    lanes: Lanes,
    flight: Flight,
    exchange: Fuse<BoxFuture<'static, Exchanged>>,
    look: Fuse<BoxFuture<'static, Looked>>,
    /// What was marked since the look began, which may bring it all the same: it is held until then.
    marked: Vec<Report>,
    ticks: Interval,
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
    pub(super) fn new(relay: OutboxRelay) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lines = LogLimit::new(relay.table.name());
        Self {
            connection: ConnectionLog::new(relay.client.clone()),
            flight: Flight::new(relay.publisher.clone()),
            relay,
            id: Uuid::new_v4(),
            leads_until: None,
            lanes: Lanes::default(),
            exchange: Fuse::terminated(),
            look: Fuse::terminated(),
            marked: Vec::new(),
            ticks,
            exchange_after: Instant::now(),
            report: Report::default(),
            may_be_more: true,
            is_due: true,
            next_prune: Instant::now() + jitter::spread(PRUNE_EVERY),
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
                stepped = self.step(signals) => stepped?,
            }
        }
    }

    /// Publishes what is committed and can be published now.
    pub(super) async fn publish_the_rest(&mut self, signals: &Signals) {
        self.may_be_more = true;
        // Of what backs off, nothing is brought; of what is committed later, nobody knows.
        while self.can_publish() && (self.may_be_more || !self.look.is_terminated() || self.lanes.len() > 0) {
            if self.step(signals).await.is_err() {
                return;
            }
        }
    }

    fn can_publish(&self) -> bool {
        let is_connected = self.relay.client.connection_state() == State::Connected;
        is_connected && self.leads() && Instant::now() >= self.exchange_after
    }

    fn leads(&self) -> bool {
        self.leads_until.is_some_and(|until| Instant::now() < until)
    }

    /// Starts what can be started, and takes the next result.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    async fn step(&mut self, signals: &Signals) -> Result<(), OutboxError> {
        self.start_publishing();
        self.start_exchange();
        self.start_look();
        self.relay.progress.holds(self.lanes.len());
        tokio::select! {
            Some(published) = self.flight.next() => self.all_published(published),
            exchanged = &mut self.exchange, if !self.exchange.is_terminated() => self.exchanged(exchanged),
            looked = &mut self.look, if !self.look.is_terminated() => self.looked(looked),
            () = signals.rows.notified() => {
                self.may_be_more = true;
                Ok(())
            }
            () = signals.lead.notified() => {
                self.is_due = true;
                Ok(())
            }
            _ = self.ticks.tick() => {
                self.tick();
                Ok(())
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
        let Some(leads_until) = self.leads_until.filter(|_| self.leads()) else {
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
        let has_reason = !self.report.is_empty() || self.is_due;
        if !self.exchange.is_terminated() || !has_reason || now < self.exchange_after {
            return;
        }
        let exchange = Exchange { prunes: self.leads() && now >= self.next_prune, ..self.next_exchange() };
        self.is_due = false;
        self.exchange = in_time(Arc::clone(&self.relay.table), exchange).boxed().fuse();
    }

    fn next_exchange(&mut self) -> Exchange {
        Exchange { relay: self.id, report: std::mem::take(&mut self.report), prunes: false }
    }

    fn exchanged(&mut self, (report, turn): Exchanged) -> Result<(), OutboxError> {
        match turn {
            Ok(turn) => {
                if self.look.is_terminated() {
                    self.lanes.forget(&report);
                } else {
                    self.marked.push(report);
                }
                self.take_turn(&turn);
                Ok(())
            }
            Err(error) => {
                self.report.extend(report);
                self.is_due = true;
                self.database_failed(error)
            }
        }
    }

    fn take_turn(&mut self, turn: &Turn) {
        match turn {
            Turn::Leads { since, pruned } => {
                if self.leads_until.is_none() {
                    let outbox = self.relay.table.name();
                    tracing::info!(relay = %self.id, outbox, "this relay publishes the outbox");
                    self.may_be_more = true;
                }
                self.leads_until = Some(*since + LEASE);
                if let Some(pruned) = pruned {
                    let pause = if *pruned < PRUNE_BATCH { PRUNE_EVERY } else { Duration::ZERO };
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

    /// Reads what is pending, one look at a time, while the exchanges go on.
    fn start_look(&mut self) {
        let (rows, bytes) =
            (WINDOW.saturating_sub(self.lanes.len()), BYTES.saturating_sub(self.lanes.bytes()));
        let has_room = rows >= WINDOW / 4 && bytes >= BYTES / 4 && self.lanes.can_take_more();
        let is_wanted = self.may_be_more && self.leads() && has_room;
        if !self.look.is_terminated() || !is_wanted || Instant::now() < self.exchange_after {
            return;
        }
        let (held, blocked) = (self.lanes.held(), self.lanes.blocked());
        let look = Look { rows, bytes, of_each_unit: OF_EACH_UNIT, held, blocked };
        self.may_be_more = false;
        let table = Arc::clone(&self.relay.table);
        self.look = async move { timeout(EXCHANGE_TIMEOUT, table.look(look)).await.unwrap_or_else(too_late) }
            .boxed()
            .fuse();
    }

    fn looked(&mut self, looked: Looked) -> Result<(), OutboxError> {
        let result = match looked {
            Ok(rows) => {
                self.may_be_more |= !rows.is_empty();
                // Another relay may lead by now, and has these rows.
                if self.leads() {
                    self.lanes.add(rows);
                }
                Ok(())
            }
            Err(error) => {
                self.may_be_more = true;
                self.database_failed(error)
            }
        };
        for report in self.marked.drain(..) {
            self.lanes.forget(&report);
        }
        result
    }

    fn database_failed(&mut self, error: OutboxError) -> Result<(), OutboxError> {
        if error.kind() == OutboxErrorKind::Mismatch {
            return Err(error);
        }
        let cause = error.source().map(ToString::to_string);
        limited!(self.lines, warn, "outbox is not available", %error, cause);
        self.exchange_after = Instant::now() + jitter::spread(TICK);
        Ok(())
    }

    /// Bounded: a broker or a database that is away must not keep the service from ending.
    pub(super) async fn finish(&mut self) {
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
            let (report, turn) = (&mut self.exchange).await;
            if turn.is_err() {
                self.report.extend(report);
            }
        }
        if !self.report.is_empty() {
            let exchange = self.next_exchange();
            self.relay.table.exchange(exchange).await?;
        }
        self.relay.table.step_down(self.id).await
    }
}

async fn in_time(table: Arc<dyn Table>, exchange: Exchange) -> Exchanged {
    let report = exchange.report.clone();
    (report, timeout(EXCHANGE_TIMEOUT, table.exchange(exchange)).await.unwrap_or_else(too_late))
}

fn too_late<T>(elapsed: Elapsed) -> Result<T, OutboxError> {
    Err(OutboxError::caused(OutboxErrorKind::Unavailable, elapsed))
}
