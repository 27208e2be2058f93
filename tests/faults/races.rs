//! Many processes that claim the same slots while the broker loses its leader.

use futures::future::join_all;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use stratt_event_bridge::{
    Event,
    dedupe::{Claim, DedupeStore, KvStore, KvStoreOptions, Slot, StoreErrorKind},
    testing::NatsCluster,
};
use support::published;
use tokio::{
    sync::Barrier,
    time::{Instant, sleep},
};

const RACERS: usize = 32;
const KEYS: u64 = 300;
/// The number of keys that are raced for at once.
const BATCH: u64 = 30;
/// A lease that must not expire before the end of the test.
const LEASE: Duration = Duration::from_mins(10);
const DEADLINE: Duration = Duration::from_mins(1);

struct Racer {
    store: KvStore,
    /// Claims with the same slot until there is an answer, as a delivery does.
    slots: HashMap<u64, Slot>,
    won: HashSet<u64>,
}

impl Racer {
    async fn claim(&self, number: u64) -> Claim {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.store.claim(&self.slots[&number], LEASE).await {
                Ok(claim) => return claim,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}"),
            }
            assert!(Instant::now() < deadline, "key {number} is not answered");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn race(mut self, barrier: Arc<Barrier>) -> Self {
        for first in (0..KEYS).step_by(usize::try_from(BATCH).unwrap()) {
            barrier.wait().await;
            self.claim_all(first..first + BATCH).await;
        }
        // A winner whose answer was lost learns of it when it asks again.
        barrier.wait().await;
        self.claim_all(0..KEYS).await;
        self
    }

    async fn claim_all(&mut self, numbers: std::ops::Range<u64>) {
        let claims = join_all(numbers.clone().map(|number| self.claim(number))).await;
        for (number, claim) in numbers.zip(claims) {
            match claim {
                Claim::Acquired { attempt, .. } => {
                    assert_eq!(attempt, 1, "key {number}");
                    self.won.insert(number);
                }
                Claim::Held { .. } => {}
                Claim::Settled => panic!("key {number} is settled"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_300_keys_has_one_winner_while_the_leader_is_lost() {
    let mut cluster = NatsCluster::start(3).await.unwrap();
    let options = KvStoreOptions::default().with_replicas(3);
    KvStore::create(cluster.connect().await.unwrap(), options.clone()).await.unwrap();
    cluster.wait_until_healthy("KV_STRATT_DEDUPE").await.unwrap();
    // The test takes part, to kill the leader in the middle.
    let barrier = Arc::new(Barrier::new(RACERS + 1));
    let mut racers = Vec::new();
    for _ in 0..RACERS {
        let store = KvStore::open(cluster.connect().await.unwrap(), options.clone()).await.unwrap();
        let slot = |number| Slot::new("racer".parse().unwrap(), published("a", number).idempotency_key());
        let slots = (0..KEYS).map(|number| (number, slot(number))).collect();
        let racer = Racer { store, slots, won: HashSet::new() };
        racers.push(tokio::spawn(racer.race(Arc::clone(&barrier))));
    }
    let batches = KEYS / BATCH;
    for batch in 0..batches {
        if batch == batches / 2 {
            let leader = cluster.stream_leader("KV_STRATT_DEDUPE").await.unwrap();
            barrier.wait().await;
            cluster.nodes_mut()[leader].kill();
        } else {
            barrier.wait().await;
        }
    }
    barrier.wait().await;
    let mut winners: HashMap<u64, usize> = HashMap::new();
    for racer in racers {
        for number in racer.await.unwrap().won {
            *winners.entry(number).or_default() += 1;
        }
    }
    assert_eq!(winners.len() as u64, KEYS);
    assert!(winners.values().all(|count| *count == 1), "{winners:?}");
}
