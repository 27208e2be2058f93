//! A database that takes its time: the lease is renewed however long a read or a mark takes, and what is read is
//! bounded.

use std::time::{Duration, Instant};
use stratt_event_bridge::{Envelope, UnitPublished, outbox::OutboxOptions, testing::FaultProxy};
use support::{Outbox, Stage, database, eventually, published, source};

const LARGE: usize = 250_000;

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

/// The outbox itself, and as it is seen over a network with this delay each way.
async fn far(delay: u64) -> (Outbox, Outbox, FaultProxy) {
    let url = database().await;
    let near = Outbox::postgres(&url, OutboxOptions::default()).await;
    let host = url.trim_start_matches("postgres://postgres@").split('/').next().unwrap().to_owned();
    let network = FaultProxy::start(&host).await.unwrap();
    let through = url.replace(&host, network.url().trim_start_matches("nats://"));
    let far = Outbox::postgres(&through, OutboxOptions::default()).await;
    network.delay(Duration::from_millis(delay));
    (near, far, network)
}

/// So many events of 250 kB each, one of each unit.
async fn enqueue_large(outbox: &Outbox, count: i32) {
    let payload = "x".repeat(LARGE);
    for number in 0..count {
        let uri = format!("strat://dev/rule/large-{number}@1.0.0");
        let insert = "INSERT INTO stratt_outbox (uri, subject, message_id, payload, since)";
        let message_id = format!("{number:064x}");
        match outbox {
            Outbox::Postgres(pool, _) => {
                let insert = format!("{insert} VALUES ($1, 'strat.dev.unit.published', $2, $3, now())");
                let insert = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(uri).bind(message_id);
                insert.bind(payload.as_bytes()).execute(pool).await.unwrap();
            }
            Outbox::Sqlite(pool, _) => {
                let insert = format!("{insert} VALUES (?1, 'strat.dev.unit.published', ?2, ?3, 0)");
                let insert = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(uri).bind(message_id);
                insert.bind(payload.as_bytes()).execute(pool).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_far_away_is_relayed() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let (near, far, _network) = far(420).await;
    near.enqueue(&[envelope("a", 1)], true).await;
    let relay = far.relay(&stage.bridge);
    eventually("status", || near.status(), |status| status.pending == 0).await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_that_takes_longer_to_read_than_a_lease_is_relayed() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let (near, far, _network) = far(300).await;
    enqueue_large(&near, 150).await;
    let relay = far.relay(&stage.bridge);
    eventually("status", || near.status(), |status| status.pending == 0).await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_are_held_by_the_byte() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let mut stage = Stage::new().await;
        let relay = outbox.relay(&stage.bridge);
        outbox.enqueue(&[envelope("a", 1)], true).await;
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        stage.server.kill();
        enqueue_large(&outbox, 200).await;
        // 8 MiB and one event more at most; it asks for more only while a quarter of that is free.
        let held = || async { relay.progress.backlog() };
        eventually("held", held, |held| *held >= 26).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            let held = held().await;
            assert!((26..=34).contains(&held), "{held} events are held");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stage.server.restart().await.unwrap();
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        assert_eq!(relay.stop().await.published, 201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_locks_stops_no_other() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let outbox = Outbox::postgres(&database().await, OutboxOptions::default()).await;
    let Outbox::Postgres(pool, _) = &outbox else { panic!("not PostgreSQL") };
    outbox.enqueue(&[envelope("locked", 1)], true).await;
    let mut operator = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM stratt_outbox FOR UPDATE").execute(&mut *operator).await.unwrap();
    let relay = outbox.relay(&stage.bridge);
    let progress = || async { relay.progress.summary().published };
    eventually("published", progress, |published| *published == 1).await;
    // Longer than a lease.
    let (begun, mut number) = (Instant::now(), 1);
    while begun.elapsed() < Duration::from_secs(6) {
        number += 1;
        outbox.enqueue(&[envelope("a", number)], true).await;
        eventually("published", progress, |published| *published == number).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    operator.rollback().await.unwrap();
    eventually("status", || outbox.status(), |status| status.pending == 0).await;
    assert_eq!(relay.stop().await.duplicates, 0);
}
