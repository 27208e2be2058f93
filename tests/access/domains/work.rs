//! The whole work of a service whose streams are elsewhere.

use futures::{TryStreamExt, stream};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Envelope, EventBridge, Feed, HandlerError, Order, UnitPublished,
    async_nats::{
        self,
        jetstream::{AckKind, consumer::pull},
    },
    dead_letter::DeadLetterFilter,
    dedupe::{Claim, DedupeStore, KvStore, KvStoreOptions, Slot},
    testing::NatsServer,
    topology::{StreamSettings, Topology},
};
use support::{HubAndLeaf, LeafStage, Running, eventually, hub_domain, published, quick, source};
use tokio::sync::oneshot;

/// A handler that rejects what is called `poison` for as long as the poison works, and notes what it has handled.
#[derive(Clone, Default)]
struct Handler {
    handled: Arc<Mutex<Vec<u64>>>,
    is_cured: Arc<Mutex<bool>>,
}

impl Handler {
    fn handle(&self, delivery: &Delivery<UnitPublished>) -> Result<(), HandlerError> {
        let is_cured = *self.is_cured.lock().unwrap_or_else(PoisonError::into_inner);
        if delivery.event().uri.slug() == "poison" && !is_cured {
            return Err(HandlerError::reject("poison"));
        }
        self.handled.lock().unwrap().push(support::number_of(&delivery.event().fingerprint));
        Ok(())
    }

    async fn has_handled(&self, wanted: &[u64]) {
        let handled = || async {
            let mut handled = self.handled.lock().unwrap().clone();
            handled.sort_unstable();
            handled
        };
        eventually("handled", handled, |handled| handled == wanted).await;
    }
}

/// Provisions, publishes, forwards, consumes, dedupes, dead-letters and redrives.
pub async fn all_of_it(bridge: &EventBridge, domain: Option<&str>) {
    let topology = Topology::default().with_batches(true);
    bridge.provision(&topology).await.unwrap();
    bridge.provision(&topology).await.unwrap();
    bridge.verify(&topology).await.unwrap();

    // Published one by one, in flight together, and in a batch.
    let receipt = bridge.publish(published("fine", 1)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.domain()), (1, domain));
    let envelope = |number| Envelope::builder(published("fine", number), source()).build().unwrap();
    let receipts: Vec<_> =
        bridge.publish_all(stream::iter((2..=4).map(envelope))).try_collect().await.unwrap();
    assert!(receipts.iter().all(|receipt| receipt.domain() == domain), "{receipts:?}");
    let mut numbers = vec![1, 2, 3, 4];
    if bridge.client().is_server_compatible(2, 12, 0) {
        let receipts = bridge.publish_batch(&[envelope(5), envelope(4), envelope(6)]).await.unwrap();
        assert!(receipts.iter().all(|receipt| receipt.domain() == domain), "{receipts:?}");
        assert!(receipts[1].is_duplicate());
        numbers.extend([5, 6]);
    }

    // Deduplicated by the store where the broker cannot, rejected, and redriven.
    let store = Arc::new(bridge.create_kv_store(KvStoreOptions::default()).await.unwrap());
    let handler = Handler::default();
    let consumer = |name: &str, order| {
        let handler = handler.clone();
        let builder = bridge.consumer(name, Arc::<KvStore>::clone(&store)).feed(Feed::Choco);
        let builder = builder.options(quick().with_order(order));
        builder.on(move |delivery: Delivery<UnitPublished>| {
            let handler = handler.clone();
            async move { handler.handle(&delivery) }
        })
    };
    let running = Running::start(consumer("adapter", Order::Relaxed).build().await.unwrap());
    handler.has_handled(&numbers).await;
    let again = envelope(1);
    let again = bridge.jetstream().publish(again.subject(), again.encode().unwrap().into());
    again.await.unwrap().await.unwrap();
    bridge.publish(published("poison", 7)).await.unwrap();
    let dead_letters = bridge.dead_letters();
    let letters = || async {
        let letters = dead_letters.list(DeadLetterFilter::default()).await.unwrap();
        letters.try_collect::<Vec<_>>().await.unwrap()
    };
    let letters = eventually("dead letters", letters, |letters| letters.len() == 1).await;
    assert_eq!((letters[0].consumer(), letters[0].error()), ("adapter", "poison"));
    *handler.is_cured.lock().unwrap() = true;
    dead_letters.redrive(letters[0].sequence()).await.unwrap();
    numbers.push(7);
    handler.has_handled(&numbers).await;
    let summary = running.stop().await;
    assert_eq!((summary.rejected, summary.duplicates), (1, 1), "{summary:?}");

    let status = bridge.status().await;
    assert!(status.is_jetstream_reachable() && status.dead_letters() == Some(0), "{status:?}");
    let forwarding = || async { bridge.forwarding().await.unwrap() };
    eventually("forwarding", forwarding, |seen| !seen.is_stalled()).await;
    bridge.verify(&topology).await.unwrap();
}

/// Consumes in order; the next process takes over as soon as the first is unpinned.
pub async fn in_order(bridge: &EventBridge, number: u64) {
    let store = Arc::new(bridge.open_kv_store(KvStoreOptions::default()).await.unwrap());
    for number in number..number + 2 {
        let (handled, mut is_handled) = tokio::sync::mpsc::unbounded_channel();
        let builder = bridge.consumer("ordered", Arc::<KvStore>::clone(&store));
        let consumer = builder.options(quick().with_order(Order::PerUnit)).on(
            move |delivery: Delivery<UnitPublished>| {
                let _closed = handled.send(support::number_of(&delivery.event().fingerprint));
                async { Ok(()) }
            },
        );
        let running = Running::start(consumer.build().await.unwrap());
        bridge.publish(published("ordered", number)).await.unwrap();
        while is_handled.recv().await.unwrap() != number {}
        running.stop().await;
    }
}

/// Stores the dead letter of an event that a consumer without this crate has terminated.
pub async fn sweeps(bridge: &EventBridge) {
    let sweeper = bridge.sweeper(Feed::Strat);
    sweeper.provision(&StreamSettings::default()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let sweeping = tokio::spawn(async move { sweeper.run(async { stopped.await.unwrap() }).await });
    terminate_first(bridge.jetstream(), Feed::Strat.stream()).await;
    let letters = || async {
        let letters = bridge.dead_letters().list(DeadLetterFilter::default()).await.unwrap();
        letters.try_collect::<Vec<_>>().await.unwrap()
    };
    let letters = eventually("dead letters", letters, |letters| letters.len() == 1).await;
    assert_eq!((letters[0].consumer(), letters[0].stream_sequence()), ("plain", 1));
    stop.send(()).unwrap();
    assert_eq!(sweeping.await.unwrap().unwrap().rejected, 1);
}

/// Terminates the first message of a stream, as the consumer `plain`.
pub async fn terminate_first(context: &async_nats::jetstream::Context, stream: &str) {
    let config = pull::Config { durable_name: Some("plain".into()), ..pull::Config::default() };
    let durable = context.create_consumer_on_stream(config, stream).await.unwrap();
    let pulled = durable.batch().max_messages(1).expires(Duration::from_secs(20)).messages().await.unwrap();
    let pulled: Vec<_> = pulled.try_collect().await.unwrap();
    pulled[0].ack_with(AckKind::Term).await.unwrap();
    context.client().flush().await.unwrap();
}

async fn works_on(server: HubAndLeaf) {
    let LeafStage { bridge, server, .. } = LeafStage::on_leaf(server).await;
    all_of_it(&bridge, Some("hub")).await;
    if bridge.client().is_server_compatible(2, 11, 0) {
        in_order(&bridge, 8).await;
    }
    sweeps(&bridge).await;
    // All of it is in the hub, where no domain is needed.
    let there = EventBridge::new(server.hub.connect().await.unwrap(), source());
    there.verify(&Topology::default().with_batches(true)).await.unwrap();
    assert_eq!(there.status().await.dead_letters(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_node_does_all_its_work_in_the_hub() {
    works_on(HubAndLeaf::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_without_a_jetstream_of_its_own() {
    let leaf = NatsServer::builder().without_jetstream();
    works_on(HubAndLeaf::of(NatsServer::builder(), leaf).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_itself_may_be_named_by_its_domain() {
    let server = NatsServer::builder().jetstream_domain(hub_domain()).start().await.unwrap();
    let options = stratt_event_bridge::BridgeOptions::default().with_jetstream_domain(hub_domain());
    let bridge = EventBridge::with_options(server.connect().await.unwrap(), source(), options);
    all_of_it(&bridge, Some("hub")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_of_a_client_and_of_a_bridge_share_their_slots() {
    let stage = LeafStage::on_leaf(HubAndLeaf::start().await).await;
    let options = || KvStoreOptions::default().with_jetstream_domain(hub_domain());
    let of_client = KvStore::create(stage.client.clone(), options()).await.unwrap();
    let of_bridge = stage.bridge.open_kv_store(KvStoreOptions::default()).await.unwrap();
    KvStore::open(stage.client.clone(), options()).await.unwrap();
    // The JetStream of the leaf node has no such bucket.
    KvStore::open(stage.client.clone(), KvStoreOptions::default()).await.unwrap_err();
    let slot = || Slot::new("adapter".parse().unwrap(), "1".repeat(64).parse().unwrap());
    let lease = Duration::from_secs(40);
    let claim = of_client.claim(&slot(), lease).await.unwrap();
    let Claim::Acquired { fence, .. } = claim else { panic!("{claim:?}") };
    assert!(matches!(of_bridge.claim(&slot(), lease).await.unwrap(), Claim::Held { .. }));
    of_bridge.settle(&slot(), fence).await.unwrap();
    assert!(matches!(of_client.claim(&slot(), lease).await.unwrap(), Claim::Settled));
}
