//! Handlers that block their thread: the whole process stalls, or a part of it.

use futures::{TryStreamExt, stream};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    ConsumeSummary, ConsumerOptions, Delivery, Envelope, EventBridge, Feed, HandlerError, UnitPublished,
    async_nats,
};
use support::{DEADLINE, Running, Stage, eventually, published, quick, source};
use tokio::{runtime::Runtime, sync::oneshot, task::Id};

fn options() -> ConsumerOptions {
    quick()
        .with_processing_timeout(Duration::from_millis(300))
        .with_lease(Duration::from_millis(600))
        .with_ack_wait(Duration::from_millis(800))
}

/// A stand-in for a process, with its own runtime and connection, whose handlers block their thread.
struct Blocked {
    starts: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<ConsumeSummary>,
}

impl Blocked {
    fn start(stage: &Stage, runtime: Runtime, result: fn() -> Result<(), HandlerError>) -> Self {
        let (starts, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (stop, stopped) = oneshot::channel::<()>();
        let (url, store) = (stage.server.url().to_owned(), Arc::clone(&stage.store));
        let (count, ends) = (Arc::clone(&starts), Arc::clone(&is_over));
        let consume = async move {
            let bridge = EventBridge::new(async_nats::connect(url).await.unwrap(), source());
            let consumer = bridge.consumer("zombie", store).options(options());
            let consumer = consumer.on(move |_: Delivery<UnitPublished>| {
                let (count, ends) = (Arc::clone(&count), Arc::clone(&ends));
                async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    while !ends.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    result()
                }
            });
            let shutdown = async move {
                let _stopped = stopped.await;
            };
            consumer.build().await.unwrap().run(shutdown).await.unwrap()
        };
        let thread = std::thread::spawn(move || runtime.block_on(consume));
        Self { starts, is_over, stop, thread }
    }

    async fn has_started(&self) {
        eventually("starts", || async { self.starts.load(Ordering::SeqCst) }, |starts| *starts == 1).await;
    }

    /// Lets the handler end, and stops the process.
    async fn stop(self) -> ConsumeSummary {
        self.is_over.store(true, Ordering::SeqCst);
        self.stop.send(()).unwrap();
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_loses_its_claim_and_changes_nothing() {
    // It does not settle what another has settled, and its failure does not cause a third run.
    for result in [|| Ok(()), || Err(HandlerError::retry("late"))] {
        let stage = Stage::new().await;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let zombie = Blocked::start(&stage, runtime, result);
        stage.bridge.publish(published("a", 1)).await.unwrap();
        zombie.has_started().await;
        let runs = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&runs);
        let healthy =
            stage.consumer("zombie").options(options()).on(move |delivery: Delivery<UnitPublished>| {
                assert_eq!(delivery.attempt(), 1);
                count.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }
            });
        let heir = Running::start(healthy.build().await.unwrap());
        eventually("heir", || async { runs.load(Ordering::SeqCst) }, |runs| *runs == 1).await;
        stage.all_answered(Feed::Strat, "zombie").await;
        let zombie = zombie.stop().await;
        assert_eq!((zombie.handled, zombie.retried, zombie.abandoned), (0, 0, 1));
        stage.all_answered(Feed::Strat, "zombie").await;
        assert_eq!((heir.stop().await.handled, runs.load(Ordering::SeqCst)), (1, 1));
        assert!(stage.dead_letters().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_behind_a_blocked_handler_go_to_another_process() {
    let stage = Stage::new().await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let blocked = Blocked::start(&stage, runtime, || Ok(()));
    for number in 1..=4 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    blocked.has_started().await;
    let delivered = || async {
        stage.stream(Feed::Strat).await.consumer_info("zombie").await.unwrap().delivered.stream_sequence
    };
    eventually("delivered", delivered, |sequence| *sequence == 4).await;
    let runs: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let seen = Arc::clone(&runs);
    let healthy = stage.consumer("zombie").options(options()).on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push((delivery.sequence(), delivery.attempt()));
        async { Ok(()) }
    });
    let heir = Running::start(healthy.build().await.unwrap());
    // While the handler still blocks.
    eventually("runs", || async { runs.lock().unwrap().len() }, |runs| *runs == 4).await;
    let blocked = blocked.stop().await;
    assert_eq!((blocked.handled, blocked.abandoned), (0, 1));
    assert!(blocked.returned >= 3, "{blocked:?}");
    stage.all_answered(Feed::Strat, "zombie").await;
    assert_eq!(heir.stop().await.handled, 4);
    runs.lock().unwrap().sort_unstable();
    // A first claim that expires costs no attempt: it might have ended with the process, for another event's fault.
    assert_eq!(*runs.lock().unwrap(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
}

/// Handlers that end at once, but for one that blocks its thread. It is polled by the task that polls them in place,
/// the first one after others got tasks of their own.
#[derive(Clone, Default)]
struct BlocksOnce {
    is_blocking: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    handled: Arc<AtomicU32>,
    polled: Arc<Mutex<Polled>>,
}

#[derive(Default)]
struct Polled {
    task: Option<Id>,
    /// Returns how many it has polled, one after the other.
    in_a_row: u32,
    /// The task that polls in place, once one has kept it for so long that others get tasks of their own.
    in_place: Option<Id>,
}

impl Polled {
    fn is_first_in_place_again(&mut self) -> bool {
        let task = tokio::task::try_id();
        if self.in_place.is_some() && task == self.in_place {
            return true;
        }
        // Another task may have taken the place of that one.
        self.in_a_row = if self.task == task { self.in_a_row + 1 } else { 0 };
        self.task = task;
        if self.in_a_row == 50 {
            self.in_place = task;
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

impl BlocksOnce {
    fn handle(&self) {
        let is_the_one = self.polled.lock().unwrap().is_first_in_place_again();
        if is_the_one && !self.is_blocking.swap(true, Ordering::SeqCst) {
            while !self.is_over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.handled.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts it and publishes until it blocks; how many were published.
    async fn start(&self, stage: &Stage, options: ConsumerOptions) -> (Running, u32) {
        let mut published = publish_many(stage, 0).await;
        let handler = self.clone();
        let consumer = stage.consumer("first").options(options);
        let consumer = consumer.on(move |_: Delivery<UnitPublished>| {
            handler.handle();
            std::future::ready(Ok(()))
        });
        let running = Running::start(consumer.build().await.unwrap());
        let deadline = Instant::now() + DEADLINE;
        while !self.is_blocking.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "no handler was polled in place twice");
            if self.handled.load(Ordering::SeqCst) == published {
                published = publish_many(stage, published).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (running, published)
    }
}

async fn publish_many(stage: &Stage, before: u32) -> u32 {
    let envelopes = (before..before + 1000).map(|number| {
        let event = published(&format!("unit-{number}"), number.into());
        Envelope::builder(event, source()).build().unwrap()
    });
    let receipts: Vec<_> = stage.bridge.publish_all(stream::iter(envelopes)).try_collect().await.unwrap();
    assert_eq!(receipts.len(), 1000);
    before + 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_holds_up_nothing_that_arrived_with_it() {
    let (stage, handler) = (Stage::new().await, BlocksOnce::default());
    let (running, published) = handler.start(&stage, ConsumerOptions::default()).await;
    // While it blocks, all others are handled and acknowledged.
    let handled = async || handler.handled.load(Ordering::SeqCst);
    eventually("handled", handled, |handled| *handled == published - 1).await;
    let unanswered =
        || async { stage.stream(Feed::Strat).await.consumer_info("first").await.unwrap().num_ack_pending };
    eventually("unanswered", unanswered, |count| *count == 1).await;
    handler.is_over.store(true, Ordering::SeqCst);
    stage.all_answered(Feed::Strat, "first").await;
    assert_eq!(running.stop().await.handled, u64::from(published));
    assert_eq!(handled().await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_holds_up_no_shutdown() {
    let (stage, handler) = (Stage::new().await, BlocksOnce::default());
    let options = ConsumerOptions::default().with_shutdown_grace(Duration::from_millis(100));
    let (running, _) = handler.start(&stage, options).await;
    let summary = running.stop().await;
    assert!(!handler.is_over.load(Ordering::SeqCst));
    assert_eq!(summary.received, summary.handled + summary.returned + 1, "{summary:?}");
    handler.is_over.store(true, Ordering::SeqCst);
}
