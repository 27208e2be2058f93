//! Slots that others wrote, or deleted.

use super::*;

#[tokio::test]
async fn an_unreadable_slot_is_left_and_harms_no_other() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let claimant = "0".repeat(32);
    let values = [
        "",
        "of another program",
        "2 settled 7",
        "1 settled",
        "1 settled -7",
        "1 settled 7 8",
        "1 settled 99999999999999999999",
        "1 free 4294967296 7",
        "1 free x 7",
        "1 free 1 7 lapsed",
        "1 free 1 7 lapsed x",
        "1 free 1 7 lapsed 4294967296",
        "1 free 1 7 lapsed 1 lapsed 1",
        &format!("1 held {claimant} 1 7"),
        &format!("1 held {claimant} 1 7 99999999999999999999"),
        &format!("1 held {claimant} 1e3 7 8"),
        "1 held ' 1 7 8",
        "\u{0}\n\u{ffff}",
        &"1 settled 7".repeat(100_000),
    ];
    for (number, value) in (0..).zip(values) {
        let (bad, good) = (slot(number), slot(1000 + number));
        store.query::<()>(&["SET", &key(&bad), value]).await;
        let (claim, renew, settle, other) = tokio::join!(
            store.claim(&bad, LEASE),
            store.renew(&bad, Fence::new(7), LEASE),
            store.settle(&bad, Fence::new(7)),
            store.claim(&good, LEASE)
        );
        assert_eq!(kind(claim), StoreErrorKind::Corrupt, "{value:?}");
        assert_eq!(kind(renew), StoreErrorKind::Corrupt, "{value:?}");
        assert_eq!(kind(settle), StoreErrorKind::Corrupt, "{value:?}");
        assert!(matches!(other.unwrap(), Claim::Acquired { .. }), "{value:?}");
        assert_eq!(store.query::<String>(&["GET", &key(&bad)]).await, value);
    }
    let list = slot(999);
    store.query::<()>(&["RPUSH", &key(&list), "a"]).await;
    assert_eq!(kind(store.claim(&list, LEASE).await), StoreErrorKind::Corrupt);
    assert_eq!(kind(store.release(&list, Fence::new(7)).await), StoreErrorKind::Corrupt);
    assert_eq!(store.query::<u64>(&["LLEN", &key(&list)]).await, 1);
}

#[tokio::test]
async fn a_counter_of_fences_that_cannot_be_read_grants_nothing() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    for value in ["x", "", "-1", "1e300", "99999999999999999999"] {
        store.query::<()>(&["SET", "stratt:dedupe:fence", value]).await;
        assert_eq!(kind(store.claim(&slot(1), LEASE).await), StoreErrorKind::Corrupt, "{value:?}");
        assert!(!store.query::<bool>(&["EXISTS", &key(&slot(1))]).await);
    }
    store.query::<()>(&["DEL", "stratt:dedupe:fence"]).await;
    store.query::<()>(&["RPUSH", "stratt:dedupe:fence", "1"]).await;
    assert_eq!(kind(store.claim(&slot(1), LEASE).await), StoreErrorKind::Corrupt);
    store.query::<()>(&["DEL", "stratt:dedupe:fence"]).await;
    acquire(&*store, &slot(1)).await;
}

#[tokio::test]
async fn a_fence_is_new_after_slot_counter_or_all_data_is_gone() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let mut last = Fence::new(0);
    let (counter, record) = ("stratt:dedupe:fence", key(&slot(1)));
    // The last one is a counter as a failover leaves it that has not replicated the last grants.
    let losses = [
        &["DEL", record.as_str()][..],
        &["DEL", counter],
        &["FLUSHALL"],
        &["EVAL", "redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[2], '5')", "2", &record, counter],
    ];
    for lost in losses {
        let fence = acquire(&*store, &slot(1)).await;
        assert!(fence > last, "{fence:?} after {last:?}");
        store.forget(&slot(1), fence).await.unwrap();
        store.query::<()>(lost).await;
        let next = acquire(&*store, &slot(1)).await;
        assert!(next > fence, "{next:?} after {fence:?}");
        assert_eq!(kind(store.settle(&slot(1), fence).await), StoreErrorKind::Fenced);
        store.forget(&slot(1), next).await.unwrap();
        last = next;
    }
    // Ahead of the clock, as after it was set back: the counter decides, or else the slot.
    let ahead = 8_000_000_000_000_000_u64;
    store.query::<()>(&["SET", "stratt:dedupe:fence", &ahead.to_string()]).await;
    assert_eq!(acquire(&*store, &slot(2)).await, Fence::new(ahead + 1));
    store.query::<()>(&["SET", &key(&slot(3)), &format!("1 free 1 {}", ahead + 10)]).await;
    assert_eq!(acquire(&*store, &slot(3)).await, Fence::new(ahead + 11));
    // The slot's record moves nobody else's.
    assert_eq!(acquire(&*store, &slot(4)).await, Fence::new(ahead + 3));
    store.query::<()>(&["SET", &key(&slot(5)), "1 free 1 9000000000000000"]).await;
    assert_eq!(kind(store.claim(&slot(5), LEASE).await), StoreErrorKind::Corrupt);
    assert_eq!(acquire(&*store, &slot(6)).await, Fence::new(ahead + 4));
}
