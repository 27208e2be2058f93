//! The age of what a consumer has not acknowledged, against that at which its stream removes it.

use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, Feed, UnitPublished,
    topology::{StreamSettings, Topology},
};
use support::{Metrics, Running, Stage, eventually, published};
use tokio::sync::Semaphore;

#[tokio::test]
async fn the_age_of_the_oldest_open_event_is_measured() {
    let metrics = Metrics::listen();
    let stage = Stage::new().await;
    let brief = StreamSettings::default().with_max_age(Duration::from_secs(20));
    let brief = brief.with_duplicate_window(Duration::from_secs(1));
    stage.bridge.provision(&Topology::default().with_choco(brief)).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let passed = gate.clone();
    let builder = stage.consumer("aged").feed(Feed::Choco).on(move |_: Delivery<UnitPublished>| {
        let gate = passed.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    for number in 1..=2 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    let running = Running::start(builder.build().await.unwrap());
    let seen = || async {
        let of = |name: &str| metrics.value(&format!("stratt_consumer_{name}{{consumer=\"aged\"}}"));
        (of("oldest_seconds"), of("unanswered"), of("max_age_seconds"))
    };
    let is = |unanswered: f64| move |found: &f64| (found - unanswered).abs() < f64::EPSILON;
    let aged = |(oldest, unanswered, max_age): &(f64, f64, f64)| {
        (4.0..20.0).contains(oldest) && is(2.0)(unanswered) && is(20.0)(max_age)
    };
    eventually("two that age", seen, aged).await;
    gate.add_permits(2);
    let done = |(oldest, unanswered, _): &(f64, f64, f64)| is(0.0)(oldest) && is(0.0)(unanswered);
    eventually("none", seen, done).await;
    running.stop().await;
}
