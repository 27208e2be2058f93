//! Faults of a running service, and the series of metrics that they leave: in each only the alert of its fault may
//! fire.

use crate::timeline::Timeline;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    CircuitBreaker, ConsumerOptions, Delivery, Feed, HandlerError, Order, UnitPublished,
    dedupe::{DedupeStore, RedisStore, RedisStoreOptions},
    testing::Redis,
    topology::{EVENT_STREAM, ForwardingOptions, StreamSettings, Topology},
};
use support::{Metrics, Running, Stage, eventually, published, quick};
use tokio::time::sleep;

/// Usually the time of a sample. Each is a minute for the rules.
const EVERY: Duration = Duration::from_millis(100);
/// The minutes before a fault, with it and after it.
const BEFORE: usize = 20;
const WITH: usize = 30;
const AFTER: usize = 40;
/// The age at which Choco removes an event, where one waits for long, and the minutes that it waits.
const MAX_AGE: Duration = Duration::from_secs(20);
const WAIT: usize = 192;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Rejects,
    Defers,
    StoreStops,
    ForwardingStalls,
    EventWaits,
    PinMoves,
    IsSlow,
}

impl Fault {
    fn topology(self) -> Topology {
        let brief =
            StreamSettings::default().with_max_age(MAX_AGE).with_duplicate_window(Duration::from_secs(1));
        let topology = Topology::default();
        if self == Self::EventWaits { topology.with_choco(brief) } else { topology }
    }

    /// The time of a sample. It takes a pin that long to move, and the server is asked for the lag every 5 s.
    fn minute(self) -> Duration {
        match self {
            Self::PinMoves => EVERY * 3,
            Self::IsSlow => EVERY * 13,
            _ => EVERY,
        }
    }

    /// The minutes before the fault, with it, and after it.
    fn minutes(self) -> [usize; 3] {
        if self == Self::IsSlow { [2, 46, 1] } else { [BEFORE, WITH, AFTER] }
    }

    fn options(self) -> ConsumerOptions {
        let order = if self == Self::PinMoves { Order::PerUnit } else { Order::Relaxed };
        quick().with_circuit_breaker(CircuitBreaker::default()).with_order(order)
    }
}

/// Runs a service with a consumer of Choco and a watch of forwarding, which has a fault for a while.
async fn service(fault: Fault, metrics: &Metrics) -> Timeline<'_> {
    let stage = Stage::since(11).await;
    stage.bridge.provision(&fault.topology()).await.unwrap();
    let mut server = Redis::start().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let quickly = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_connection_timeout(Some(Duration::from_millis(200)));
    let connection = ConnectionManager::new_with_config(client, quickly).await.unwrap();
    let options = RedisStoreOptions::default().with_operation_timeout(Duration::from_millis(200));
    let store: Arc<dyn DedupeStore> = Arc::new(RedisStore::open(connection, options).await.unwrap());

    let is_on = Arc::new(AtomicBool::new(false));
    let consumer = || {
        let on = is_on.clone();
        let consumer = stage.bridge.consumer("adapter", store.clone()).feed(Feed::Choco);
        consumer.options(fault.options()).on(move |delivery: Delivery<UnitPublished>| {
            let on = on.clone();
            async move {
                let slug = delivery.event().uri.slug();
                match fault {
                    // Some succeed all the time.
                    Fault::Rejects if on.load(Ordering::SeqCst) && slug == "poison" => {
                        Err(HandlerError::reject("poison"))
                    }
                    Fault::Defers if on.load(Ordering::SeqCst) => Err(HandlerError::defer("away")),
                    // Of the events of a unit, one at a time.
                    Fault::IsSlow if on.load(Ordering::SeqCst) => {
                        sleep(EVERY * 3).await;
                        Ok(())
                    }
                    Fault::EventWaits if slug == "stuck" => {
                        while on.load(Ordering::SeqCst) {
                            sleep(EVERY / 2).await;
                        }
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        })
    };
    let running = Running::start(consumer().build().await.unwrap());
    // In strict order, one of the two waits for the other.
    let standby = match fault {
        Fault::PinMoves => Some(Running::start(consumer().build().await.unwrap())),
        _ => None,
    };
    let options = ForwardingOptions::default().with_interval(EVERY).with_bound(EVERY * 5);
    let watch = stage.bridge.watch_forwarding(options);
    let publisher = async {
        for number in 0.. {
            let slug = if number % 4 == 3 { "poison" } else { "fine" };
            // Without a stream of events, there is nothing to publish to.
            let _stored = stage.bridge.publish(published(slug, number)).await;
            sleep(EVERY / 2).await;
        }
    };
    let faulty = async {
        let mut timeline = Timeline::of(metrics, fault.minute());
        let handled = || async { metrics.value(r#"stratt_events_handled_total{consumer="adapter"}"#) };
        eventually("handled", handled, |handled| *handled > 1.0).await;
        let [before, with, after] = fault.minutes();
        timeline.pass(before).await;
        is_on.store(true, Ordering::SeqCst);
        match fault {
            Fault::StoreStops => server.kill(),
            Fault::ForwardingStalls => {
                stage.context().delete_stream(EVENT_STREAM).await.unwrap();
            }
            Fault::EventWaits => {
                stage.bridge.publish(published("stuck", u64::MAX)).await.unwrap();
                timeline.pass(WAIT - WITH).await;
            }
            _ => {}
        }
        for _ in 0..with {
            timeline.pass(1).await;
            if fault == Fault::PinMoves {
                unpin(&stage).await;
            }
        }
        is_on.store(false, Ordering::SeqCst);
        match fault {
            Fault::StoreStops => server.restart().await.unwrap(),
            Fault::ForwardingStalls => {
                stage.bridge.provision(&Topology::default()).await.unwrap();
            }
            _ => {}
        }
        timeline.pass(after).await;
        timeline
    };
    let timeline = tokio::select! {
        timeline = faulty => timeline,
        () = publisher => unreachable!(),
        () = watch.run(std::future::pending()) => unreachable!(),
    };
    running.stop().await;
    if let Some(standby) = standby {
        standby.stop().await;
    }
    timeline
}

/// Lets the server pin the durable again, as when the pinned client does not ask in time.
async fn unpin(stage: &Stage) {
    let subject = format!("CONSUMER.UNPIN.{}.adapter", Feed::Choco.stream());
    let group = serde_json::json!({ "group": "stratt" });
    let answer: serde_json::Value = stage.context().request(subject, &group).await.unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
}

#[tokio::test]
async fn a_service_without_a_fault_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    Box::pin(service(Fault::None, &metrics)).await.write(None, "");
}

#[tokio::test]
async fn a_handler_that_rejects_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::Rejects, &metrics)).await;
    assert!(metrics.value(r#"stratt_dead_letters_total{consumer="adapter",reason="rejected"}"#) > 1.0);
    timeline.write(Some("StrattDeadLettersGrow"), ",consumer=\"adapter\"");
}

#[tokio::test]
async fn an_outage_of_what_a_handler_needs_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::Defers, &metrics)).await;
    assert!(metrics.value(r#"stratt_unsettled_total{consumer="adapter",cause="deferred"}"#) > 0.5);
    timeline.write(Some("StrattBreakerOpen"), ",consumer=\"adapter\",event_type=\"unit.published\"");
}

#[tokio::test]
async fn a_stopped_redis_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::StoreStops, &metrics)).await;
    timeline.write(Some("StrattStoreDown"), ",consumer=\"adapter\"");
}

#[tokio::test]
async fn stalled_forwarding_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::ForwardingStalls, &metrics)).await;
    timeline.write(Some("StrattForwardingStalled"), "");
}

#[tokio::test]
async fn an_event_that_waits_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::EventWaits, &metrics)).await;
    timeline.write(Some("StrattExpiryNear"), ",consumer=\"adapter\"");
}

#[tokio::test]
async fn a_pin_that_moves_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::PinMoves, &metrics)).await;
    timeline.write(Some("StrattPinnedClientFlaps"), ",consumer=\"adapter\"");
}

#[tokio::test]
async fn a_slow_handler_leaves_its_series() {
    support::needs!(Redis);
    let metrics = Metrics::listen();
    let timeline = Box::pin(service(Fault::IsSlow, &metrics)).await;
    timeline.write(Some("StrattLagGrows"), ",consumer=\"adapter\"");
}
