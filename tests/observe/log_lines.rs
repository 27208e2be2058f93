//! Log lines: each is repeated a limited number of times, and the number of omitted ones is reported.

use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, Feed, HandlerError, UnitPublished,
    topology::{StreamSettings, Topology},
};
use support::{Faulty, Log, Running, Stage, eventually, published, quick, short};

/// The most lines of each kind in a test: the burst, and some for the time that the test takes.
const BOUND: usize = 20;

// On one thread, so that the log has the consumer's lines.
#[tokio::test]
async fn a_fault_of_all_events_does_not_flood_the_log() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let one = StreamSettings::default().with_max_messages(1);
    stage.bridge.provision(&Topology::default().with_dead_letters(one)).await.unwrap();
    let consumer = stage.consumer("failing").options(quick().with_max_attempts(2));
    let consumer =
        consumer.on(|_: Delivery<UnitPublished>| async { Err(HandlerError::retry("never works")) });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    for number in 1..=100 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    let running = Running::start(consumer);
    let counts = || async { monitor.status().counts() };
    eventually("postponed", counts, |counts| counts.retried >= 100 && counts.postponed >= 300).await;
    let summary = running.stop().await;

    let lines =
        ["event is to be retried", "dead letter could not be stored", "dead letter is to be written later"];
    for line in lines {
        let reported = log.count(&format!("line=\"{line}\""));
        let logged = log.count(line) - reported;
        assert!((1..=BOUND).contains(&logged), "{line}: {logged} lines");
        // No line is omitted without a report.
        assert!(reported >= 1, "{line}: nobody reports what was left out of {summary:?}");
    }
    assert!(log.count("WARN") + log.count("ERROR") <= 5 * BOUND);
}

#[tokio::test]
async fn a_store_that_is_down_does_not_flood_the_log() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    store.is_down(true);
    let consumer = stage.bridge.consumer("c", store.clone()).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) });
    for number in 1..=60 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    eventually("failed claims", || async { store.failures() }, |failures| *failures >= 200).await;
    store.is_down(false);
    let back = || async { log.count("dedupe store answers again") };
    eventually("store is back", back, |lines| *lines >= 1).await;
    stage.all_answered(Feed::Strat, "c").await;
    running.stop().await;
    let line = "dedupe store did not answer a claim: the event waits until it does";
    let logged = log.count(line) - log.count(&format!("line=\"{line}\""));
    assert!((1..=BOUND).contains(&logged), "{logged} lines");
}

#[tokio::test]
async fn the_loss_of_the_broker_is_logged_once_and_so_is_its_return() {
    let log = Log::listen();
    let mut stage = Stage::new().await;
    let consumer = stage.consumer("c").options(short()).on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    stage.server.kill();
    let lost = || async { log.count("connection to the broker is lost") };
    eventually("lost", lost, |lines| *lines == 1).await;
    stage.server.restart().await.unwrap();
    let back = || async { log.count("connection to the broker is back") };
    eventually("back", back, |lines| *lines == 1).await;
    stage.bridge.publish(published("a", 2)).await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    assert_eq!((lost().await, running.stop().await.handled), (1, 2));
}

#[tokio::test]
async fn a_connection_that_is_back_at_once_was_lost_all_the_same() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let (network, bridge) = stage.through_proxy(Duration::from_secs(1)).await;
    let consumer = bridge.consumer("c", stage.store.clone()).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    network.cut();

    let logged = || async { log.count("connection to the broker") };
    eventually("logged", logged, |lines| *lines >= 1).await;
    running.stop().await;
}
