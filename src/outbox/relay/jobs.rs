//! Requests in flight to the database. They run concurrently, so that nothing delays the renewal of the lease.

use crate::outbox::{
    OutboxError, OutboxErrorKind,
    row::Row,
    table::{Look, Report, Table},
};
use futures::{
    FutureExt,
    future::{BoxFuture, Fuse, FusedFuture},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// Time limit of a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

type Job<T> = Fuse<BoxFuture<'static, T>>;

/// The requests in flight, at most one of each kind.
pub(super) struct Jobs {
    table: Arc<dyn Table>,
    lead: Job<Result<Option<Instant>, OutboxError>>,
    mark: Job<(Report, Result<(), OutboxError>)>,
    look: Job<Result<Vec<Row>, OutboxError>>,
    prune: Job<Result<u64, OutboxError>>,
}

/// The result of a request.
pub(super) enum Answer {
    /// The moment since which this relay leads, or `None` if another does.
    Lead(Option<Instant>),
    Marked(Report),
    Found(Vec<Row>),
    Pruned(u64),
    /// The rows are not marked, or not known to be.
    NotMarked(Report, OutboxError),
    NotFound(OutboxError),
    Failed(OutboxError),
}

impl Jobs {
    pub(super) fn new(table: Arc<dyn Table>) -> Self {
        let (lead, mark) = (Fuse::terminated(), Fuse::terminated());
        Self { table, lead, mark, look: Fuse::terminated(), prune: Fuse::terminated() }
    }

    pub(super) fn asks_for_lead(&self) -> bool {
        !self.lead.is_terminated()
    }

    pub(super) fn marks(&self) -> bool {
        !self.mark.is_terminated()
    }

    pub(super) fn looks(&self) -> bool {
        !self.look.is_terminated()
    }

    pub(super) fn prunes(&self) -> bool {
        !self.prune.is_terminated()
    }

    pub(super) fn ask_for_lead(&mut self, relay: Uuid) {
        let table = Arc::clone(&self.table);
        self.lead = async move { in_time(table.lead(relay)).await }.boxed().fuse();
    }

    pub(super) fn mark(&mut self, report: Report) {
        let table = Arc::clone(&self.table);
        self.mark = async move { (report.clone(), in_time(table.mark(report)).await) }.boxed().fuse();
    }

    pub(super) fn look(&mut self, look: Look) {
        let table = Arc::clone(&self.table);
        self.look = async move { in_time(table.look(look)).await }.boxed().fuse();
    }

    pub(super) fn prune(&mut self) {
        let table = Arc::clone(&self.table);
        self.prune = async move { in_time(table.prune()).await }.boxed().fuse();
    }

    /// Abandons the look, whose rows are no longer wanted.
    pub(super) fn drop_look(&mut self) {
        self.look = Fuse::terminated();
    }

    /// Waits for the next result; never ends while no request is in flight.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Answer {
        tokio::select! {
            lead = &mut self.lead, if !self.lead.is_terminated() => lead.map_or_else(Answer::Failed, Answer::Lead),
            (report, marked) = &mut self.mark, if !self.mark.is_terminated() => match marked {
                Ok(()) => Answer::Marked(report),
                Err(error) => Answer::NotMarked(report, error),
            },
            found = &mut self.look, if !self.look.is_terminated() => found.map_or_else(Answer::NotFound, Answer::Found),
            pruned = &mut self.prune, if !self.prune.is_terminated() => {
                pruned.map_or_else(Answer::Failed, Answer::Pruned)
            }
            else => std::future::pending().await,
        }
    }

    /// Marks the last rows and gives up the lead, once no request in flight can take it again.
    pub(super) async fn finish(&mut self, relay: Uuid, mut report: Report) -> Result<(), OutboxError> {
        (self.look, self.prune) = (Fuse::terminated(), Fuse::terminated());
        while self.marks() || self.asks_for_lead() {
            if let Answer::NotMarked(unmarked, _) = self.next().await {
                report.extend(unmarked);
            }
        }
        if !report.is_empty() {
            self.table.mark(report).await?;
        }
        self.table.step_down(relay).await
    }
}

async fn in_time<T>(asked: BoxFuture<'_, Result<T, OutboxError>>) -> Result<T, OutboxError> {
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(answered) => answered,
        Err(elapsed) => Err(OutboxError::caused(OutboxErrorKind::Unavailable, elapsed)),
    }
}
