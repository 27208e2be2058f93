//! Combination of the operations of many tasks into few round trips.

use crate::dedupe::{StoreError, StoreErrorKind};
use futures::{
    FutureExt,
    future::{BoxFuture, Either, Shared, WeakShared, select},
};
use std::{
    borrow::Cow,
    collections::VecDeque,
    error::Error,
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Carries out a batch of operations and answers each, in their order.
type Run<Op, Answer> = dyn Fn(Vec<Op>) -> Outcome<Vec<Answer>, StoreError> + Send + Sync;
type Outcome<T, E> = BoxFuture<'static, Result<T, E>>;
/// A round trip in flight, driven by any of its callers that is polled.
type Round<Answer> = Shared<Outcome<Arc<Vec<Answer>>, Arc<StoreError>>>;
type WeakRound<Answer> = WeakShared<Outcome<Arc<Vec<Answer>>, Arc<StoreError>>>;

/// A combiner of the operations of many tasks into few round trips.
///
/// An operation that arrives while fewer than `max_rounds` are in flight starts a round of its own at once. Others
/// queue and go together, first come first served, when a round ends. So a lone call never waits, and batches grow with
/// the load. It needs no task and no timer:
///
/// - A round belongs to all the callers it carries: it progresses while any of them is polled. It does not matter which
///   caller started it, or whether that one was dropped since.
/// - A queued caller also drives the oldest round. So a caller that is polled makes progress even if no other is:
///   futures that are kept but not polled, such as those in a `buffer_unordered` whose owner awaits something else,
///   block no other.
/// - A round without callers, in it or queued behind it, is dropped, and its place is free.
/// - A queued operation whose caller is dropped is not sent.
pub(super) struct Coalescer<Op, Answer> {
    inner: Arc<Inner<Op, Answer>>,
}

struct Inner<Op, Answer> {
    max_batch: NonZeroUsize,
    max_rounds: NonZeroUsize,
    run: Box<Run<Op, Answer>>,
    /// Only this module's own code runs under the lock: what might wake a task or drop a round is taken out first.
    state: Mutex<State<Op, Answer>>,
}

/// The queue and the rounds. The queue is empty unless `max_rounds` are in flight: when a round ends, its place is
/// filled from the queue.
struct State<Op, Answer> {
    queue: VecDeque<Queued<Op, Answer>>,
    /// The rounds in flight, oldest first.
    rounds: VecDeque<(u64, WeakRound<Answer>)>,
    last_round: u64,
}

struct Queued<Op, Answer> {
    op: Op,
    caller: oneshot::Sender<Turn<Answer>>,
}

/// The round that carries an operation, and the operation's place in it.
struct Turn<Answer> {
    round: Round<Answer>,
    place: usize,
}

enum Entered<Answer> {
    Started(Turn<Answer>),
    Queued(oneshot::Receiver<Turn<Answer>>),
}

impl<Op, Answer> Coalescer<Op, Answer>
where
    Op: Send + 'static,
    Answer: Clone + Send + Sync + 'static,
{
    /// Returns a coalescer with at most `max_batch` operations per round and at most `max_rounds` rounds in flight.
    ///
    /// The future of `run` must end on its own, by an error if need be: a round that never ends keeps its place while
    /// callers wait. An operation may be in a batch twice; the second must see the effect of the first.
    pub(super) fn new<F>(
        max_batch: NonZeroUsize,
        max_rounds: NonZeroUsize,
        run: impl Fn(Vec<Op>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<Answer>, StoreError>> + Send + 'static,
    {
        let state = State { queue: VecDeque::new(), rounds: VecDeque::new(), last_round: 0 };
        let run = Box::new(move |ops| run(ops).boxed());
        Self { inner: Arc::new(Inner { max_batch, max_rounds, run, state: Mutex::new(state) }) }
    }

    /// Carries out an operation together with those of other callers.
    ///
    /// An error of the round is returned to each of its callers. Dropping the future withdraws the operation if it is
    /// still queued; otherwise it is done or not done, as after a lost answer, and the others in its round continue.
    pub(super) async fn call(&self, op: Op) -> Result<Answer, StoreError> {
        let Turn { round, place } = match Inner::enter(&self.inner, op) {
            Entered::Started(turn) => turn,
            Entered::Queued(turn) => self.wait(turn).await?,
        };
        let answers = round.await.map_err(copy)?;
        answers.get(place).cloned().ok_or_else(|| unavailable("store returned no answer"))
    }

    async fn wait(&self, mut turn: oneshot::Receiver<Turn<Answer>>) -> Result<Turn<Answer>, StoreError> {
        loop {
            // There is no round only for the moment in which another thread drops one and fills its place.
            let helped = match self.inner.oldest() {
                Some(round) => round.map(|_answers| ()).left_future(),
                None => tokio::task::yield_now().right_future(),
            };
            if let Either::Left((turn, _)) = select(&mut turn, std::pin::pin!(helped)).await {
                return turn.map_err(|_gone| unavailable("store was dropped"));
            }
        }
    }
}

impl<Op, Answer> Inner<Op, Answer>
where
    Op: Send + 'static,
    Answer: Clone + Send + Sync + 'static,
{
    fn enter(this: &Arc<Self>, op: Op) -> Entered<Answer> {
        let mut state = this.lock();
        if state.rounds.len() < this.max_rounds.get() {
            return Entered::Started(Turn { round: Self::start(this, &mut state, vec![op]), place: 0 });
        }
        let (caller, turn) = oneshot::channel();
        state.queue.push_back(Queued { op, caller });
        Entered::Queued(turn)
    }

    /// Starts a round. It does not run before it is polled, so it may be made under the lock.
    fn start(this: &Arc<Self>, state: &mut State<Op, Answer>, ops: Vec<Op>) -> Round<Answer> {
        state.last_round += 1;
        let place = Place { inner: Arc::clone(this), round: state.last_round };
        let round = async move {
            // Freed when the round ends or is dropped.
            let place = place;
            let asked = ops.len();
            match (place.inner.run)(ops).await {
                Ok(answers) if answers.len() == asked => Ok(Arc::new(answers)),
                Ok(answers) => Err(Arc::new(unavailable(format!(
                    "store returned {} answers to {asked} operations",
                    answers.len()
                )))),
                Err(error) => Err(Arc::new(error)),
            }
        };
        let round = round.boxed().shared();
        // `downgrade` fails only for a round that has ended.
        if let Some(weak) = round.downgrade() {
            state.rounds.push_back((state.last_round, weak));
        }
        round
    }

    /// Fills the place of a round from the queue, and hands the new round to its callers.
    fn replace(this: &Arc<Self>, ended: u64) {
        // Declared before the lock, so that it is dropped after it.
        let mut gone = Vec::new();
        let mut state = this.lock();
        state.rounds.retain(|(round, _)| *round != ended);
        let (mut ops, mut callers) = (Vec::new(), Vec::new());
        while ops.len() < this.max_batch.get()
            && let Some(queued) = state.queue.pop_front()
        {
            if queued.caller.is_closed() {
                gone.push(queued);
            } else {
                ops.push(queued.op);
                callers.push(queued.caller);
            }
        }
        if ops.is_empty() {
            return;
        }
        let round = Self::start(this, &mut state, ops);
        drop(state);
        for (place, caller) in callers.into_iter().enumerate() {
            // If the caller has gone since, the round is left to the others.
            let _gone = caller.send(Turn { round: round.clone(), place });
        }
    }
}

impl<Op, Answer> Inner<Op, Answer> {
    fn lock(&self) -> MutexGuard<'_, State<Op, Answer>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn oldest(&self) -> Option<Round<Answer>> {
        self.lock().rounds.iter().find_map(|(_, round)| round.upgrade())
    }
}

/// One of the places for rounds. Dropping it fills the place from the queue.
struct Place<Op: Send + 'static, Answer: Clone + Send + Sync + 'static> {
    inner: Arc<Inner<Op, Answer>>,
    round: u64,
}

impl<Op: Send + 'static, Answer: Clone + Send + Sync + 'static> Drop for Place<Op, Answer> {
    fn drop(&mut self) {
        Inner::replace(&self.inner, self.round);
    }
}

impl<Op, Answer> fmt::Debug for Coalescer<Op, Answer> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { max_batch, max_rounds, .. } = &*self.inner;
        f.debug_struct("Coalescer")
            .field("max_batch", max_batch)
            .field("max_rounds", max_rounds)
            .finish_non_exhaustive()
    }
}

fn unavailable(message: impl Into<Cow<'static, str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_message(message)
}

/// Returns a copy of the error of a round, for one of its callers.
fn copy(error: Arc<StoreError>) -> StoreError {
    let copy = StoreError::new(error.kind()).with_message(error.to_string());
    if error.source().is_some() { copy.caused_by(Cause(error)) } else { copy }
}

/// The source of a shared error.
struct Cause(Arc<StoreError>);

impl Cause {
    fn source(&self) -> &(dyn Error + 'static) {
        self.0.source().unwrap_or(&*self.0)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.source(), f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.source(), f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source().source()
    }
}

#[cfg(test)]
#[path = "coalesce_tests.rs"]
mod tests;
