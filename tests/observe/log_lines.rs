//! Log lines: each is repeated so often and no more, and how many were left out is reported.

use stratt_event_bridge::{
    Delivery, HandlerError, UnitPublished,
    topology::{StreamSettings, Topology},
};
use support::{Log, Running, Stage, eventually, published, quick};

/// How many lines of each kind a test may see: the burst, and some for the time that it takes.
const BOUND: usize = 20;

// On one thread, so that the consumer's lines are seen.
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
        // Nothing is left out without a word.
        assert!(reported >= 1, "{line}: nobody reports what was left out of {summary:?}");
    }
    assert!(log.count("WARN") + log.count("ERROR") <= 5 * BOUND);
}
