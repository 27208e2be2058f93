//! Servers whose clocks differ by more than the margin, or are set: that costs overlaps and waiting, never a wrong
//! settle and never an event. (A process whose own clock is wrong costs nothing: `skew`.)

use async_nats::{ConnectOptions, HeaderMap};
use futures::StreamExt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Envelope, EventBridge, Feed, UnitPublished, async_nats,
    dedupe::{Claim, DedupeStore, KvStore, KvStoreOptions, Slot, StoreErrorKind},
};
use support::{DEADLINE, Running, Stage, eventually, published, quick, source};
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

const AHEAD: &str = "_INBOX_ahead";
const BEHIND: &str = "_INBOX_behind";
const SKEW: Duration = Duration::from_mins(10);

/// Two stores on one bucket. To the first, what is stored was written ten minutes before the time that the server
/// tells, and to the second ten minutes after: only the timestamps of slots reach them shifted.
struct Skewed {
    clients: [async_nats::Client; 2],
    stores: [Arc<KvStore>; 2],
    _shifting: AbortOnDropHandle<()>,
}

impl Skewed {
    async fn new(stage: &Stage) -> Self {
        let connect = |prefix| ConnectOptions::new().custom_inbox_prefix(prefix).connect(stage.server.url());
        let clients = [connect(AHEAD).await.unwrap(), connect(BEHIND).await.unwrap()];
        let mut stores = Vec::new();
        for client in &clients {
            let store = KvStore::create(client.clone(), KvStoreOptions::default()).await.unwrap();
            stores.push(Arc::new(store));
        }
        let bucket = stage.context().get_stream("KV_STRATT_DEDUPE").await.unwrap();
        let mut config = bucket.cached_info().config.clone();
        // From now on the test answers direct gets, instead of the server.
        config.allow_direct = false;
        stage.context().update_stream(config).await.unwrap();
        let mut gets = stage.client.subscribe("$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.>").await.unwrap();
        stage.client.flush().await.unwrap();
        let client = stage.client.clone();
        let shifting = tokio::spawn(async move {
            while let Some(get) = gets.next().await {
                let reply = get.reply.unwrap();
                let key = get.subject.strip_prefix("$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.").unwrap();
                let found = bucket.get_last_raw_message_by_subject(key).await.unwrap();
                let time = if reply.starts_with(AHEAD) { found.time - SKEW } else { found.time + SKEW };
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Sequence", found.sequence.to_string());
                headers.insert("Nats-Time-Stamp", time.format(&Rfc3339).unwrap());
                client.publish_with_headers(reply, headers, found.payload).await.unwrap();
            }
        });
        let stores = stores.try_into().unwrap();
        Self { clients, stores, _shifting: AbortOnDropHandle::new(shifting) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_lets_no_stale_fence_write() {
    let stage = Stage::new().await;
    let Skewed { stores: [ahead, behind], .. } = &Skewed::new(&stage).await;
    let slot = || Slot::new("tests".parse().unwrap(), "1".repeat(64).parse().unwrap());
    let (first, second, lease) = (slot(), slot(), Duration::from_mins(1));
    let Claim::Acquired { fence: stale, attempt: 1, lapsed: 0 } = behind.claim(&first, lease).await.unwrap()
    else {
        panic!("a new slot is not granted");
    };
    let Claim::Acquired { fence, attempt: 2, lapsed: 1 } = ahead.claim(&second, lease).await.unwrap() else {
        panic!("a clock that is ahead takes no lease for over");
    };
    let refused = [
        behind.renew(&first, stale, lease).await,
        behind.settle(&first, stale).await,
        behind.release(&first, stale).await,
        behind.forget(&first, stale).await,
    ];
    for written in refused {
        assert_eq!(written.unwrap_err().kind(), StoreErrorKind::Fenced);
    }
    let claim = behind.claim(&first, lease).await.unwrap();
    assert!(matches!(claim, Claim::Held { retry_in } if retry_in >= lease), "{claim:?}");
    ahead.settle(&second, fence).await.unwrap();
    assert_eq!(behind.claim(&first, lease).await.unwrap(), Claim::Settled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_with_different_clocks_handle_every_event() {
    const FACTS: u64 = 30;
    let stage = Stage::new().await;
    let skewed = Skewed::new(&stage).await;
    let options = quick()
        .with_processing_timeout(Duration::from_secs(2))
        .with_lease(Duration::from_secs(3))
        .with_ack_wait(Duration::from_secs(3))
        // An overlap costs an attempt.
        .with_max_attempts(50);
    let effects: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let mut running = Vec::new();
    for (client, store) in skewed.clients.iter().zip(&skewed.stores) {
        let effects = Arc::clone(&effects);
        let bridge = EventBridge::new(client.clone(), source());
        let consumer = bridge.consumer("skewed", Arc::clone(store) as Arc<dyn DedupeStore>);
        let consumer = consumer.options(options.clone()).on(move |delivery: Delivery<UnitPublished>| {
            *effects.lock().unwrap().entry(delivery.slot().key().to_string()).or_default() += 1;
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
        });
        running.push(Running::start(consumer.build().await.unwrap()));
    }
    let counts = || {
        let effects = effects.lock().unwrap();
        (effects.len() as u64, effects.values().sum::<u64>())
    };
    let deadline = Instant::now() + DEADLINE;
    let mut facts = 0;
    // Until two have overlapped: which worker gets what is up to the server.
    while facts < FACTS || counts().0 == counts().1 {
        assert!(Instant::now() < deadline, "the clocks made no difference: {:?}", counts());
        let number = facts;
        facts += 1;
        let envelope = Envelope::builder(published(&format!("u{number}"), number), source()).build().unwrap();
        // Stored twice, so that both workers get it at once.
        for copy in 0..2 {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{number}-{copy}"));
            let payload = envelope.encode().unwrap().into();
            let context = stage.context();
            context.publish_with_headers(envelope.subject(), headers, payload).await.unwrap().await.unwrap();
        }
    }
    eventually("facts handled", || async { counts().0 }, |handled| *handled == facts).await;
    stage.all_answered(Feed::Strat, "skewed").await;
    let (mut handled, mut abandoned) = (0, 0);
    for consumer in running {
        let summary = consumer.stop().await;
        (handled, abandoned) = (handled + summary.handled, abandoned + summary.abandoned);
    }
    // Each was settled once; each further effect is an overlap, whose worker could not settle.
    assert_eq!((handled, counts().1), (facts, facts + abandoned));
    assert!(stage.dead_letters().await.is_empty());
}
