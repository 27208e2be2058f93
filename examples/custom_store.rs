//! A dedupe store written by a host: one file, and a map in memory. A consumer uses it here, and the tests certify it.
//!
//! ```sh
//! cargo run -p examples --example custom_store
//! cargo test -p examples --example custom_store
//! ```
//!
//! Suitable for one process that has a disk and no database. Not suitable where several processes share a durable (the
//! file is locked by one), where the disk may be lost (there is one copy), or for years of traffic (the file and the
//! map grow with every event).
#![allow(clippy::print_stdout, reason = "an example is there to be read")]

use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use stratt_event_bridge::{
    Delivery, Envelope, EventBridge, IdempotencyKey, UnitPublished,
    async_nats::jetstream,
    dedupe::{Claim, DedupeStore, Fence, Slot, SlotState, StoreError, StoreErrorKind},
    testing::NatsServer,
    topology::Topology,
};
use tokio::{sync::oneshot, task::spawn_blocking, time::sleep};
use uuid::Uuid;

/// A dedupe store in one file of JSON lines. Each line replaces what the lines before it say about its slot.
#[derive(Debug)]
struct FileStore(Arc<Mutex<Journal>>);

/// The file, and its content as a map.
#[derive(Debug)]
struct Journal {
    file: File,
    records: HashMap<Id, Record>,
    last_fence: u64,
}

/// The consumer and the key of a slot.
type Id = (String, IdempotencyKey);

/// The last known state of a slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    state: State,
    attempts: u32,
    lapsed: u32,
    fence: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Held {
        claimant: Uuid,
        /// Microseconds since 1970.
        until: u64,
    },
    Ended(Ending),
}

/// The end of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Ending {
    Settled,
    Released,
    Deferred,
    Forgotten,
}

impl FileStore {
    /// Opens the store in the file at `path`, which is created if it does not exist.
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        file.try_lock()?;
        let text = fs::read_to_string(path)?;
        // A line that a crash cut short was never confirmed to a caller: it is skipped.
        let records = text.lines().filter_map(|line| serde_json::from_str::<(Id, Record)>(line).ok());
        let records: HashMap<_, _> = records.collect();
        let last_fence = records.values().map(|record| record.fence).max().unwrap_or_default();
        Ok(Self(Arc::new(Mutex::new(Journal { file, records, last_fence }))))
    }

    /// Runs `work` on a thread that may block. It is done or not done, also when the caller no longer waits for it.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let journal = Arc::clone(&self.0);
        let working =
            spawn_blocking(move || work(&mut journal.lock().unwrap_or_else(PoisonError::into_inner)));
        async move { working.await.map_err(unavailable)? }.boxed()
    }

    fn end<'a>(&'a self, slot: &Slot, fence: Fence, ending: Ending) -> BoxFuture<'a, Result<(), StoreError>> {
        let id = id(slot);
        self.run(move |journal| journal.end(id, fence, ending))
    }
}

impl Journal {
    fn claim(&mut self, id: Id, claimant: Uuid, lease: Duration) -> Result<Claim, StoreError> {
        let now = now();
        let (attempts, lapsed) = match self.records.get(&id) {
            None => (1, 0),
            Some(Record { state: State::Ended(Ending::Settled), .. }) => return Ok(Claim::Settled),
            // The claim is repeated, because its answer was lost.
            Some(Record { state: State::Held { claimant: holder, .. }, attempts, lapsed, .. })
                if *holder == claimant =>
            {
                (*attempts, *lapsed)
            }
            Some(Record { state: State::Held { until, .. }, .. }) if now < *until => {
                return Ok(Claim::Held { retry_in: Duration::from_micros(until - now) });
            }
            Some(record) => {
                let has_lapsed = matches!(record.state, State::Held { .. });
                (record.attempts.saturating_add(1), record.lapsed.saturating_add(has_lapsed.into()))
            }
        };
        // Fences begin at the time: a file that was lost and recreated grants no fence for the second time.
        let fence = now.max(self.last_fence + 1);
        let until = now.saturating_add(micros(lease));
        self.write(id, Record { state: State::Held { claimant, until }, attempts, lapsed, fence })?;
        self.last_fence = fence;
        Ok(Claim::Acquired { fence: Fence::new(fence), attempt: attempts, lapsed })
    }

    fn look(&self, id: &Id) -> SlotState {
        match self.records.get(id) {
            None => SlotState::UNKNOWN,
            Some(Record { state: State::Held { until, .. }, attempts, .. }) => {
                let expires_in = Duration::from_micros(until.saturating_sub(now()));
                SlotState::Held { attempts: *attempts, expires_in }
            }
            Some(Record { state: State::Ended(Ending::Settled), .. }) => SlotState::Settled,
            Some(Record { attempts, .. }) => SlotState::Free { attempts: *attempts },
        }
    }

    fn renew(&mut self, id: Id, fence: u64, lease: Duration) -> Result<(), StoreError> {
        match self.records.get(&id) {
            Some(Record { state: State::Held { claimant, until }, attempts, lapsed, fence: granted })
                if *granted == fence =>
            {
                // Never earlier than before: a lease is not cut short.
                let until = now().saturating_add(micros(lease)).max(*until);
                let state = State::Held { claimant: *claimant, until };
                let renewed = Record { state, attempts: *attempts, lapsed: *lapsed, fence };
                self.write(id, renewed)
            }
            _ => Err(StoreError::new(StoreErrorKind::Fenced)),
        }
    }

    fn end(&mut self, id: Id, fence: Fence, ending: Ending) -> Result<(), StoreError> {
        let record = self.records.get(&id).filter(|record| record.fence == fence.get());
        let (attempts, lapsed) = match record {
            Some(Record { state: State::Held { .. }, attempts, lapsed, .. }) => (*attempts, *lapsed),
            // The call is repeated, because its answer was lost.
            Some(Record { state: State::Ended(before), .. }) if *before == ending => return Ok(()),
            _ => return Err(StoreError::new(StoreErrorKind::Fenced)),
        };
        let (attempts, lapsed) = match ending {
            Ending::Settled | Ending::Released => (attempts, lapsed),
            Ending::Deferred => (attempts.saturating_sub(1), lapsed),
            Ending::Forgotten => (0, 0),
        };
        self.write(id, Record { state: State::Ended(ending), attempts, lapsed, fence: fence.get() })
    }

    /// Writes a record to the disk first, and only then to the map.
    fn write(&mut self, id: Id, record: Record) -> Result<(), StoreError> {
        let text = serde_json::to_string(&(&id, &record)).map_err(unavailable)?;
        // The line break before it separates it from a line that could not be written to its end.
        self.file.write_all(format!("\n{text}\n").as_bytes()).map_err(unavailable)?;
        self.file.sync_data().map_err(unavailable)?;
        self.records.insert(id, record);
        Ok(())
    }
}

impl DedupeStore for FileStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        let (id, claimant) = (id(slot), slot.claimant());
        self.run(move |journal| journal.claim(id, claimant, lease))
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (id, fence) = (id(slot), fence.get());
        self.run(move |journal| journal.renew(id, fence, lease))
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, Ending::Settled)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, Ending::Released)
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, Ending::Deferred)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, Ending::Forgotten)
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        let id = id(slot);
        self.run(move |journal| Ok(journal.look(&id)))
    }

    /// Without a limit of time, for nothing is ever removed from the file.
    fn retention(&self) -> Option<Duration> {
        None
    }
}

fn id(slot: &Slot) -> Id {
    (slot.consumer().to_string(), slot.key())
}

fn now() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable)
        .with_message("the file of the store cannot be written")
        .caused_by(error)
}

type Failure = Box<dyn Error + Send + Sync>;

/// Stores an event twice, once before and once after the consumer was restarted, and shows that it is handled once.
#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = NatsServer::start().await?;
    let bridge = EventBridge::new(server.connect().await?, "choco-adapter:custom-store:0.1.0".parse()?);
    bridge.provision(&Topology::default()).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("slots.jsonl");

    let fingerprint = format!("blake3:{}", "0".repeat(64)).parse()?;
    let event = UnitPublished::new("strat://dev/rule/no-secrets@1.0.0".parse()?, fingerprint);
    let envelope = Envelope::builder(event, bridge.source().clone()).build()?;
    let runs = Arc::new(AtomicU32::new(0));
    for sequence in 1..=2 {
        // Without a message id, so that the broker does not recognise the repeat: that is left to the store.
        let context = jetstream::new(bridge.client().clone());
        context.publish(envelope.subject(), envelope.encode()?.into()).await?.await?;
        let store = Arc::new(FileStore::open(&file)?);
        consume(&bridge, store, &runs, sequence).await?;
        println!("stored {sequence} times, handled {} times", runs.load(Ordering::SeqCst));
    }
    println!("\n{}", fs::read_to_string(&file)?.replace("\n\n", "\n").trim());
    if runs.load(Ordering::SeqCst) == 1 {
        Ok(())
    } else {
        Err("the event was not handled exactly once".into())
    }
}

/// Runs a consumer until it has acknowledged the messages up to `sequence`.
async fn consume(
    bridge: &EventBridge,
    store: Arc<FileStore>,
    runs: &Arc<AtomicU32>,
    sequence: u64,
) -> Result<(), Failure> {
    let runs = Arc::clone(runs);
    let consumer = bridge.consumer("custom-store", store).on(move |_: Delivery<UnitPublished>| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(consumer.build().await?.run(stopped.map(drop)));
    let stream = jetstream::new(bridge.client().clone()).get_stream("STRATT_EVENTS").await?;
    loop {
        let durable = stream.get_consumer::<jetstream::consumer::pull::Config>("custom-store").await?;
        if durable.cached_info().ack_floor.stream_sequence >= sequence {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    drop(stop);
    println!("{:?}", running.await??);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stratt_event_bridge::testing::dedupe_conformance;

    fn in_new_file() -> Arc<dyn DedupeStore> {
        let file = tempfile::NamedTempFile::new().unwrap();
        Arc::new(FileStore::open(file.path()).unwrap())
    }

    dedupe_conformance!(in_new_file());

    async fn first_fence(store: &dyn DedupeStore, slot: &Slot) -> Fence {
        match store.claim(slot, Duration::from_secs(1)).await.unwrap() {
            Claim::Acquired { fence, .. } => fence,
            claim => panic!("a new slot was not granted: {claim:?}"),
        }
    }

    fn slot() -> Slot {
        Slot::new("choco".parse().unwrap(), "0".repeat(64).parse().unwrap())
    }

    // The suite's own test of this, `fences_never_start_again`, takes two stores on one backend: here one locks it.
    #[tokio::test]
    async fn a_lost_file_grants_no_fence_twice() {
        let before = first_fence(&*in_new_file(), &slot()).await;
        let after = first_fence(&*in_new_file(), &slot()).await;
        assert!(after.get() > before.get());
    }

    #[tokio::test]
    async fn what_was_settled_is_known_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slots.jsonl");
        let slot = slot();
        {
            let store = FileStore::open(&path).unwrap();
            assert!(FileStore::open(&path).is_err(), "two stores have one file");
            let fence = first_fence(&store, &slot).await;
            store.settle(&slot, fence).await.unwrap();
            store.0.lock().unwrap().file.write_all(b"\n[[\"choco\",\"00").unwrap();
        }
        let store = FileStore::open(&path).unwrap();
        assert_eq!(store.claim(&slot, Duration::from_secs(1)).await.unwrap(), Claim::Settled);
    }
}
