//! A server that is away, full, forgetful, or not to be trusted.

use super::*;
use stratt_event_bridge::testing::Redis;
use support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_a_crash_of_the_server() {
    support::needs!(Redis);
    let always = "appendfsync always";
    let options = RedisStoreOptions::default().with_operation_timeout(Duration::from_millis(500));
    let store = OnServer::start_with(always, options).await;
    let (settled, held) = (slot(1), slot(2));
    let fence = acquire(&*store, &settled).await;
    store.settle(&settled, fence).await.unwrap();
    let fence = acquire(&*store, &held).await;
    store.server.lock().await.kill();
    let started = tokio::time::Instant::now();
    let failed = join_all((0..50).map(|number| claim_numbered(&store, number))).await;
    for claim in failed {
        assert_eq!(kind(claim), StoreErrorKind::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    store.server.lock().await.restart().await.unwrap();
    let claim = eventually("claim", || async { store.claim(&slot(1), LEASE).await.ok() }, Option::is_some);
    assert_eq!(claim.await, Some(Claim::Settled));
    store.settle(&held, fence).await.unwrap();
    let next = acquire(&*store, &slot(3)).await;
    assert!(next > fence, "{next:?} after {fence:?}");
}

#[tokio::test]
async fn an_unanswered_operation_ends_in_time() {
    support::needs!(Redis);
    let options = RedisStoreOptions::default().with_operation_timeout(Duration::from_secs(10));
    let store = OnServer::start_with("", options).await;
    store.query::<()>(&["CLIENT", "PAUSE", "120000", "ALL"]).await;
    // So many that they queue for 12 round trips, two at once: 60 s if each of those waited for 10 s.
    let slots: Vec<_> = (0..3000).map(slot).collect();
    let claims = join_all(slots.iter().map(|slot| store.claim(slot, LEASE)));
    for claim in tokio::time::timeout(Duration::from_secs(45), claims).await.unwrap() {
        assert_eq!(kind(claim), StoreErrorKind::Unavailable);
    }
    // Only a client that is new may end the pause: commands of the others wait.
    store.server.lock().await.restart().await.unwrap();
    let claim = eventually("claim", || async { store.claim(&slots[0], LEASE).await.ok() }, Option::is_some);
    assert!(matches!(claim.await, Some(Claim::Acquired { attempt: 1, .. })));
}

#[tokio::test]
async fn abandoned_round_trips_free_their_places_in_time() {
    support::needs!(Redis);
    let options = RedisStoreOptions::default().with_operation_timeout(Duration::from_millis(200));
    let store = OnServer::start_with("", options).await;
    store.query::<()>(&["CLIENT", "PAUSE", "3000", "ALL"]).await;
    let slots: Vec<_> = (0..4).map(slot).collect();
    // Both places are taken by futures that are kept and not polled, so that their own time is not noticed.
    let mut kept: Vec<_> = slots[..2].iter().map(|slot| store.claim(slot, LEASE)).collect();
    for claim in &mut kept {
        assert!(futures::poll!(claim).is_pending());
    }
    for slot in &slots[2..] {
        assert_eq!(kind(store.claim(slot, LEASE).await), StoreErrorKind::Unavailable);
    }
    // Answered after all that was sent before, when the pause is over.
    assert!(store.query::<bool>(&["EXISTS", &key(&slots[3])]).await, "the last claim was never sent");
}

#[tokio::test]
async fn a_full_redis_grants_nothing_renews_and_settles() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let granted = [
        acquire(&*store, &slot(0)).await,
        acquire(&*store, &slot(1)).await,
        acquire(&*store, &slot(2)).await,
    ];
    store.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(kind(store.claim(&slot(3), LEASE).await), StoreErrorKind::Full);
    store.renew(&slot(0), granted[0], 2 * LEASE).await.unwrap();
    let Claim::Held { retry_in } = store.claim(&slot(0), LEASE).await.unwrap() else { panic!("not held") };
    assert!(retry_in > LEASE, "renewed for {retry_in:?}");
    // Together with claims, which take no room by that.
    let slots: Vec<_> = (0..6).map(slot).collect();
    let (first, settle, claim, release, forget, last) = tokio::join!(
        store.claim(&slots[3], LEASE),
        store.settle(&slots[0], granted[0]),
        store.claim(&slots[4], LEASE),
        store.release(&slots[1], granted[1]),
        store.forget(&slots[2], granted[2]),
        store.claim(&slots[5], LEASE),
    );
    for written in [settle, release, forget] {
        written.unwrap();
    }
    for claim in [first, claim, last] {
        assert_eq!(kind(claim), StoreErrorKind::Full);
    }
    assert_eq!(store.query::<Vec<String>>(&["KEYS", "stratt:dedupe:tests:*"]).await.len(), 3);
    assert_eq!(store.claim(&slots[0], LEASE).await.unwrap(), Claim::Settled);
    store.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let claim = store.claim(&slots[1], LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Acquired { attempt: 2, .. }), "{claim:?}");
    acquire(&*store, &slots[3]).await;
}

#[tokio::test]
async fn a_server_that_lost_the_script_gets_it_again() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let fence = acquire(&*store, &slot(1)).await;
    store.query::<()>(&["SCRIPT", "FLUSH"]).await;
    store.settle(&slot(1), fence).await.unwrap();
    store.query::<()>(&["SCRIPT", "FLUSH"]).await;
    let claims = join_all((0..50).map(|n| claim_numbered(&store, n))).await;
    assert!(claims.iter().all(Result::is_ok), "{claims:?}");
    assert_eq!(claims[1].as_ref().unwrap(), &Claim::Settled);
}

#[tokio::test]
async fn a_server_that_could_lose_slots_is_refused_and_says_why() {
    support::needs!(Redis);
    for (config, allowed, wanted) in [
        (
            "maxmemory-policy allkeys-lru",
            false,
            "redis evicts keys when its memory is full: maxmemory_policy is allkeys-lru, wanted noeviction",
        ),
        (
            "maxmemory-policy volatile-ttl",
            true,
            "redis evicts keys when its memory is full: maxmemory_policy is volatile-ttl, wanted noeviction",
        ),
        (
            "appendonly no",
            false,
            "redis loses settled slots when it restarts, without an append-only file: aof_enabled is 0, wanted 1",
        ),
        (
            "cluster-enabled yes",
            false,
            "redis is a node of a cluster, whose redirections are not followed: cluster_enabled is 1, wanted 0",
        ),
        (
            "replicaof 127.0.0.1 1",
            false,
            "redis is a replica, which takes no writes: role is slave, wanted master",
        ),
    ] {
        let server = Redis::start_with(config).await.unwrap();
        let options = RedisStoreOptions::default();
        let options = options.with_loss_on_restart(allowed);
        let error = RedisStore::open(connect(&server).await, options).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{config}");
        assert_eq!(error.to_string(), wanted);
    }
    let server = Redis::start_with("appendonly no").await.unwrap();
    let options = RedisStoreOptions::default().with_loss_on_restart(true);
    let store = RedisStore::open(connect(&server).await, options).await.unwrap();
    acquire(&store, &slot(1)).await;
}

#[tokio::test]
async fn a_server_that_does_not_tell_how_it_is_set_is_taken() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    store.query::<()>(&["ACL", "SETUSER", "default", "-info"]).await;
    let other = RedisStore::open(store.connection.clone(), RedisStoreOptions::default()).await.unwrap();
    acquire(&other, &slot(1)).await;
    // One that runs no scripts is no store.
    store.query::<()>(&["ACL", "SETUSER", "default", "-script"]).await;
    let refused = RedisStore::open(store.connection.clone(), RedisStoreOptions::default()).await;
    assert_eq!(kind(refused), StoreErrorKind::Unavailable);
}
