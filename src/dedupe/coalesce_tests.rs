use super::*;
use futures::{
    StreamExt,
    future::join_all,
    stream::{self, FuturesUnordered},
};
use std::{pin::pin, task::Poll, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// A coalescer that doubles numbers, for as many batches as are allowed.
struct Doubler {
    coalescer: Arc<Coalescer<u64, u64>>,
    batches: Arc<Mutex<Vec<Vec<u64>>>>,
    gate: Arc<Semaphore>,
}

const FAILS: u64 = 1000;
const TOO_FEW: u64 = 1001;

impl Doubler {
    fn new(max_batch: usize, max_rounds: usize) -> Self {
        let (batches, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (seen, allowed) = (Arc::clone(&batches), Arc::clone(&gate));
        let run = move |ops: Vec<u64>| {
            seen.lock().unwrap().push(ops.clone());
            let allowed = Arc::clone(&allowed);
            async move {
                allowed.acquire().await.unwrap().forget();
                if ops.contains(&FAILS) {
                    let error = StoreError::new(StoreErrorKind::Full).with_message("no room");
                    return Err(error.caused_by(std::io::Error::other("disk")));
                }
                Ok(ops.into_iter().filter(|op| *op != TOO_FEW).map(|op| op * 2).collect())
            }
        };
        let (max_batch, max_rounds) = (max_batch.try_into().unwrap(), max_rounds.try_into().unwrap());
        Self { coalescer: Arc::new(Coalescer::new(max_batch, max_rounds, run)), batches, gate }
    }

    fn open(max_batch: usize, max_rounds: usize) -> Self {
        let doubler = Self::new(max_batch, max_rounds);
        doubler.allow(1_000_000);
        doubler
    }

    fn allow(&self, batches: usize) {
        self.gate.add_permits(batches);
    }

    fn call(&self, op: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        let coalescer = Arc::clone(&self.coalescer);
        async move { coalescer.call(op).await }.boxed()
    }

    fn batches(&self) -> Vec<Vec<u64>> {
        self.batches.lock().unwrap().clone()
    }

    /// Returns whether the queue is empty and every place is free.
    fn is_idle(&self) -> bool {
        let state = self.coalescer.inner.lock();
        state.queue.is_empty() && state.rounds.is_empty()
    }
}

type Call = BoxFuture<'static, Result<u64, StoreError>>;

/// Polls each call once, so that it is entered and pending.
async fn enter(calls: &mut [Call]) {
    for call in calls {
        assert!(futures::poll!(call).is_pending());
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("a call hangs")
}

#[tokio::test]
async fn a_lone_call_goes_at_once() {
    let doubler = Doubler::open(8, 1);
    for op in 0..3 {
        // Ready with the first poll: it waited for nothing.
        let Poll::Ready(answer) = futures::poll!(pin!(doubler.call(op))) else { panic!("it waits") };
        assert_eq!(answer.unwrap(), op * 2);
    }
    assert_eq!(doubler.batches(), [[0], [1], [2]]);
}

#[tokio::test]
async fn operations_queued_during_a_round_go_in_one_ordered_batch() {
    let doubler = Doubler::new(3, 1);
    let mut calls: Vec<_> = (0..8).map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    doubler.allow(10);
    let answers: Vec<_> = in_time(join_all(calls)).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [0, 2, 4, 6, 8, 10, 12, 14]);
    assert_eq!(doubler.batches(), [vec![0], vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
    assert!(doubler.is_idle());
}

#[tokio::test]
async fn rounds_in_flight_are_limited() {
    let doubler = Doubler::new(8, 3);
    let mut calls: Vec<_> = (0..9).map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    enter(&mut calls).await;
    assert_eq!(doubler.batches(), [[0], [1], [2]]);
    doubler.allow(1);
    assert_eq!(in_time(calls.remove(0)).await.unwrap(), 0);
    enter(&mut calls).await;
    assert_eq!(doubler.batches(), [vec![0], vec![1], vec![2], vec![3, 4, 5, 6, 7, 8]]);
}

#[tokio::test]
async fn a_round_outlives_the_caller_that_started_it() {
    let doubler = Doubler::new(8, 1);
    let mut calls: Vec<_> = (0..4).map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    doubler.allow(1);
    in_time(calls.remove(0)).await.unwrap();
    // The round of 1, 2 and 3 is in flight, and the caller that polled it first is dropped.
    enter(&mut calls).await;
    drop(calls.remove(0));
    doubler.allow(1);
    assert_eq!(in_time(calls.remove(0)).await.unwrap(), 4);
    assert_eq!(in_time(calls.remove(0)).await.unwrap(), 6);
    assert_eq!(doubler.batches(), [vec![0], vec![1, 2, 3]]);
    assert!(doubler.is_idle());
}

#[tokio::test]
async fn a_round_without_callers_is_dropped() {
    let doubler = Doubler::new(1, 1);
    let mut calls: Vec<_> = (0..2).map(|op| doubler.call(op)).collect();
    enter(&mut calls[..1]).await;
    drop(calls.remove(0));
    assert!(doubler.is_idle());
    enter(&mut calls).await;
    assert_eq!(doubler.batches(), [[0], [1]]);
}

#[tokio::test]
async fn a_round_with_dropped_callers_gives_way_to_the_queue() {
    let doubler = Doubler::new(1, 1);
    let mut calls: Vec<_> = (0..3).map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    drop(calls.drain(..2));
    doubler.allow(2);
    assert_eq!(in_time(calls.remove(0)).await.unwrap(), 4);
    assert_eq!(doubler.batches(), [[0], [2]]);
    assert!(doubler.is_idle());
}

#[tokio::test]
async fn a_round_that_was_never_polled_is_not_sent() {
    let doubler = Doubler::new(1, 1);
    let mut calls: Vec<_> = (0..3).map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    doubler.allow(2);
    in_time(calls.remove(0)).await.unwrap();
    // Its turn has come, and it was not polled since.
    drop(calls.remove(0));
    assert_eq!(in_time(calls.remove(0)).await.unwrap(), 4);
    assert_eq!(doubler.batches(), [[0], [2]]);
    assert!(doubler.is_idle());
}

#[tokio::test]
async fn a_queued_operation_whose_caller_is_dropped_is_not_sent() {
    let doubler = Doubler::new(8, 1);
    let mut calls: Vec<_> = (0..6).map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    drop(calls.drain(2..5));
    doubler.allow(2);
    in_time(join_all(calls)).await;
    assert_eq!(doubler.batches(), [vec![0], vec![1, 5]]);
}

#[tokio::test]
async fn an_error_reaches_exactly_the_callers_of_its_round() {
    let doubler = Doubler::new(3, 1);
    let mut calls: Vec<_> = [0, 1, FAILS, 3, 4].into_iter().map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    doubler.allow(3);
    let answers = in_time(join_all(calls)).await;
    for failed in &answers[1..4] {
        let error = failed.as_ref().unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (StoreErrorKind::Full, "no room".to_owned()));
        assert_eq!(error.source().unwrap().to_string(), "disk");
    }
    assert_eq!([&answers[0], &answers[4]].map(|answer| *answer.as_ref().unwrap()), [0, 8]);
    assert!(doubler.is_idle());
}

#[tokio::test]
async fn too_few_answers_fail_the_round() {
    let doubler = Doubler::new(8, 1);
    let mut calls: Vec<_> = [0, 1, TOO_FEW, 3].into_iter().map(|op| doubler.call(op)).collect();
    enter(&mut calls).await;
    doubler.allow(2);
    for failed in &in_time(join_all(calls)).await[1..] {
        let error = failed.as_ref().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(error.to_string(), "store returned 2 answers to 3 operations");
    }
}

#[tokio::test]
async fn a_panic_gives_its_place_to_the_next() {
    let run = |ops: Vec<u64>| async move { if ops == [0] { panic!("a defect") } else { Ok(ops) } };
    let one = NonZeroUsize::MIN;
    let coalescer = Arc::new(Coalescer::new(one, one, run));
    let panics = Arc::clone(&coalescer);
    assert!(tokio::spawn(async move { panics.call(0).await }).await.unwrap_err().is_panic());
    assert_eq!(in_time(coalescer.call(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_caller_that_is_polled_progresses_when_no_other_is() {
    for max_rounds in [1, 2, 4] {
        let doubler = Doubler::new(2, max_rounds);
        let mut kept: Vec<_> = (0..20).map(|op| doubler.call(op)).collect();
        enter(&mut kept).await;
        doubler.allow(1000);
        // The ten batches before it belong to futures that are not polled.
        assert_eq!(in_time(doubler.call(99)).await.unwrap(), 198);
        for (op, call) in (0..).zip(kept) {
            assert_eq!(in_time(call).await.unwrap(), op * 2);
        }
        assert!(doubler.is_idle());
    }
}

#[tokio::test]
async fn a_stream_of_buffered_calls_does_not_block_its_owner() {
    let doubler = Doubler::open(4, 1);
    let mut answers = stream::iter(0..200).map(|op| doubler.call(op)).buffer_unordered(32);
    while let Some(answer) = in_time(answers.next()).await {
        let answer = answer.unwrap();
        assert_eq!(in_time(doubler.call(answer)).await.unwrap(), answer * 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_sent_twice_when_callers_are_dropped() {
    let rounds = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (counter, log) = (Arc::clone(&rounds), Arc::clone(&sent));
    let run = move |ops: Vec<u64>| {
        let under_way = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        assert!(under_way <= 3 && ops.len() <= 5, "{under_way} rounds, {} operations", ops.len());
        log.lock().unwrap().extend(ops.iter().copied());
        let leave = Leave(Arc::clone(&counter));
        async move {
            let _leave = leave;
            for _ in 0..ops.len() {
                tokio::task::yield_now().await;
            }
            Ok(ops)
        }
    };
    let coalescer = Arc::new(Coalescer::new(5.try_into().unwrap(), 3.try_into().unwrap(), run));
    let tasks: FuturesUnordered<_> = (0..64_u64)
        .map(|task| {
            let coalescer = Arc::clone(&coalescer);
            tokio::spawn(async move {
                for turn in 0..300 {
                    let op = task * 1000 + turn;
                    let call = coalescer.call(op);
                    if (task + turn) % 3 == 0 {
                        // Dropped after so many polls, wherever it is then.
                        let mut call = pin!(call);
                        for _ in 0..(task * 7 + turn) % 9 {
                            if futures::poll!(&mut call).is_ready() {
                                break;
                            }
                            tokio::task::yield_now().await;
                        }
                    } else {
                        assert_eq!(call.await.unwrap(), op);
                    }
                }
            })
        })
        .collect();
    for task in in_time(tasks.collect::<Vec<_>>()).await {
        task.unwrap();
    }
    let state = coalescer.inner.lock();
    assert!(state.queue.is_empty() && state.rounds.is_empty());
    drop(state);
    assert_eq!(rounds.load(std::sync::atomic::Ordering::SeqCst), 0);
    let mut sent = sent.lock().unwrap().clone();
    let before = sent.len();
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), before, "an operation was sent twice");
    let awaited = (0..64_u64).flat_map(|task| (0..300).map(move |turn| (task, turn)));
    for (task, turn) in awaited.filter(|(task, turn)| (task + turn) % 3 != 0) {
        assert!(sent.binary_search(&(task * 1000 + turn)).is_ok(), "{task} {turn} was not sent");
    }
}

struct Leave(Arc<std::sync::atomic::AtomicU64>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}
