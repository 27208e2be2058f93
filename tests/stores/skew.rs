//! A process whose clock is wrong by minutes: a store in a bucket goes by the server's time.

use crate::slots::{LEASE, slot};
use std::time::Duration;
use stratt_event_bridge::{
    async_nats,
    dedupe::{Claim, DedupeStore, KvStore, KvStoreOptions},
    testing::NatsServer,
};
use support::{Log, ShiftedTimes, eventually};
use tokio::time::Instant;

const MARGIN: Duration = Duration::from_millis(100);
const TEN_MINUTES: time::Duration = time::Duration::minutes(10);

/// A store of a process with the right time, and one of a process whose clock is off by so much.
struct Pair {
    right: KvStore,
    wrong: KvStore,
    _server: NatsServer,
    _shifted: ShiftedTimes,
}

impl Pair {
    async fn with(wrong_by: time::Duration) -> Self {
        let server = NatsServer::start().await.unwrap();
        let options = KvStoreOptions::default().with_skew_margin(MARGIN);
        let right = KvStore::create(server.connect().await.unwrap(), options.clone()).await.unwrap();
        // A clock that is ahead finds the server's times behind.
        let shifted = ShiftedTimes::by(-wrong_by, server.url()).await;
        let client = async_nats::connect(shifted.url()).await.unwrap();
        let wrong = KvStore::create(client, options).await.unwrap();
        Self { right, wrong, _server: server, _shifted: shifted }
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_takes_no_lease_for_over() {
    let Pair { right, wrong, .. } = &Pair::with(TEN_MINUTES).await;
    right.claim(&slot(1), LEASE).await.unwrap();
    let claim = wrong.claim(&slot(1), LEASE).await.unwrap();
    let Claim::Held { retry_in } = claim else { panic!("taken away: {claim:?}") };
    assert!(retry_in > LEASE / 2 && retry_in <= LEASE + MARGIN, "to be asked again in {retry_in:?}");
}

#[tokio::test]
async fn a_clock_that_is_behind_takes_over_in_time() {
    let Pair { right, wrong, .. } = &Pair::with(-TEN_MINUTES).await;
    right.claim(&slot(1), Duration::from_millis(500)).await.unwrap();
    let begun = Instant::now();
    let heir = slot(1);
    let claim = || async { wrong.claim(&heir, LEASE).await.unwrap() };
    let claim = eventually("claim", claim, |claim| matches!(claim, Claim::Acquired { .. })).await;
    assert!(matches!(claim, Claim::Acquired { attempt: 2, .. }), "{claim:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told() {
    let log = Log::listen();
    let told = "clock of this process differs from that of the broker";
    let right = Pair::with(time::Duration::ZERO).await;
    assert_eq!(log.count(told), 0);
    drop(right);
    let _wrong = Pair::with(TEN_MINUTES).await;
    assert_eq!(log.count(told), 1);
}
