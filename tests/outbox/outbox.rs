//! The outbox: what is committed is announced, what is rolled back is not, and each unit in order.

use sqlx::PgPool;
use std::time::{Duration, Instant};
use stratt_event_bridge::{
    Envelope, EventBridge, Feed, UnitPublished,
    outbox::{OutboxErrorKind, OutboxOptions, PostgresOutbox, SqliteOutbox},
    testing::{NatsServer, Postgres},
    topology::{EVENT_STREAM, Topology},
};
use support::{Outbox, Relaying, Stage, database, eventually, published, source, sqlite_pool};

fn envelope(slug: &str, number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published(slug, number), source()).build().unwrap()
}

async fn stored(stage: &Stage) -> u64 {
    stage.stream(Feed::Strat).await.cached_info().state.messages
}

/// The units of the events in the stream, with the last digits of their fingerprints.
async fn announced(stage: &Stage) -> Vec<String> {
    let stream = stage.stream(Feed::Strat).await;
    let mut announced = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let envelope: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
        let event: Envelope<UnitPublished> = envelope.narrow().unwrap();
        let (uri, digest) = (event.event().uri.slug(), event.event().fingerprint.digest());
        announced.push(format!("{uri}{}", digest.trim_start_matches('0')));
    }
    announced
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_commits_are_announced_and_at_once() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        let relay = outbox.relay(&stage.bridge);
        outbox.enqueue(&[envelope("a", 1), envelope("b", 1)], true).await;
        outbox.enqueue(&[envelope("a", 2)], false).await;
        outbox.enqueue(&[envelope("a", 3)], true).await;
        eventually("stored", || stored(&stage), |stored| *stored == 3).await;
        let status = eventually("status", || outbox.status(), |status| status.pending == 0).await;
        assert_eq!((status.oldest_pending, status.quarantined), (None, 0));
        let mut announced = announced(&stage).await;
        assert!(
            announced.iter().position(|event| event == "a1")
                < announced.iter().position(|event| event == "a3")
        );
        announced.sort();
        assert_eq!(announced, ["a1", "a3", "b1"]);
        // Woken, not found at the next look: ten in a row take less than ten looks.
        let begun = Instant::now();
        for number in 4..14 {
            outbox.enqueue(&[envelope("a", number)], true).await;
            eventually("stored", || stored(&stage), |stored| *stored == number).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?} of {outbox:?}", begun.elapsed());
        let summary = relay.stop().await;
        assert_eq!((summary.published, summary.duplicates, summary.quarantined), (13, 0, 0));
        assert_eq!(outbox.count("SELECT count(*) FROM stratt_outbox WHERE state = 1").await, 13);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_tells_what_it_does_while_it_runs() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let mut stage = Stage::new().await;
        let relay = outbox.relay(&stage.bridge);
        let progress = relay.progress.clone();
        let told = || async { (progress.summary().published, progress.backlog()) };
        outbox.enqueue(&[envelope("a", 1)], true).await;
        eventually("progress", told, |told| *told == (1, 0)).await;
        stage.server.kill();
        outbox.enqueue(&[envelope("a", 2), envelope("b", 1)], true).await;
        eventually("progress", told, |told| *told == (1, 2)).await;
        stage.server.restart().await.unwrap();
        eventually("progress", told, |told| told.0 == 3).await;
        let summary = relay.stop().await;
        assert_eq!((summary, 0), (progress.summary(), progress.backlog()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_commits_after_later_ones_is_not_lost() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let url = database().await;
    let outbox = Outbox::postgres(&url, OutboxOptions::default()).await;
    let relay = outbox.relay(&stage.bridge);
    let Outbox::Postgres(pool, postgres) = &outbox else { panic!("not PostgreSQL") };
    let mut slow = pool.begin().await.unwrap();
    postgres.enqueue(&mut slow, &envelope("slow", 1)).await.unwrap();
    outbox.enqueue(&[envelope("quick", 1), envelope("slow", 2)], true).await;
    eventually("stored", || stored(&stage), |stored| *stored == 2).await;
    eventually("status", || outbox.status(), |status| status.pending == 0).await;
    slow.commit().await.unwrap();
    eventually("stored", || stored(&stage), |stored| *stored == 3).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_published_is_quarantined() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let server = NatsServer::builder().config("max_payload: 3000").start().await.unwrap();
        let client = server.connect().await.unwrap();
        let bridge = EventBridge::new(client, source());
        bridge.provision(&Topology::default()).await.unwrap();
        let large = Envelope::builder(published("a", 2), source()).meta("text", "x".repeat(4000));
        outbox
            .enqueue(&[envelope("a", 1), large.build().unwrap(), envelope("a", 3), envelope("b", 1)], true)
            .await;
        // What nobody enqueued.
        outbox
            .run(
                "INSERT INTO stratt_outbox (uri, subject, message_id, payload, since)
                 SELECT uri, 'strat.>', message_id, payload, since FROM stratt_outbox WHERE id = (SELECT min(id) FROM stratt_outbox)",
            )
            .await;
        outbox
            .run(
                "INSERT INTO stratt_outbox (uri, subject, message_id, payload, since)
                 SELECT uri, subject, 'a line
 break', payload, since
                 FROM stratt_outbox WHERE id = (SELECT min(id) FROM stratt_outbox)",
            )
            .await;
        let relay = outbox.relay(&bridge);
        let status = eventually("status", || outbox.status(), |status| status.pending == 0).await;
        assert_eq!(status.quarantined, 3, "{outbox:?}");
        let summary = relay.stop().await;
        assert_eq!((summary.published, summary.quarantined), (3, 3));
        assert_eq!(
            outbox.count("SELECT count(*) FROM stratt_outbox WHERE state = 2 AND error <> ''").await,
            3
        );
        let found = outbox.quarantined(2).await;
        assert_eq!((found.len(), found[1].subject.as_str()), (2, "strat.>"));
        assert!(found.iter().all(|event| !event.error.is_empty()), "{found:?}");
        assert!((time::OffsetDateTime::now_utc() - found[0].quarantined_at).abs() < time::Duration::MINUTE);
        // The first is only too large, and its successors are not quarantined: they are left alone.
        let large = found[0].id;
        assert_eq!(outbox.drop_quarantined(vec![found[1].id, large - 1]).await, 1);
        assert_eq!(outbox.retry_quarantined(vec![large, large + 1]).await, 1);
        let status = outbox.status().await;
        assert_eq!((status.pending, status.quarantined), (1, 1));
        assert!(status.oldest_pending.unwrap() < Duration::from_mins(1));
        let roomy = NatsServer::start().await.unwrap();
        let bridge = EventBridge::new(roomy.connect().await.unwrap(), source());
        bridge.provision(&Topology::default()).await.unwrap();
        let relay = outbox.relay(&bridge);
        eventually("status", || outbox.status(), |status| status.pending == 0).await;
        let summary = relay.stop().await;
        assert_eq!((summary.published, summary.quarantined), (1, 0));
    }
}

#[tokio::test]
async fn an_oversized_event_is_refused_before_its_commit() {
    let large = Envelope::builder(published("a", 1), source()).meta("text", "x".repeat(300_000));
    let large = large.build().unwrap();
    let pool = sqlite_pool().await;
    let outbox = SqliteOutbox::new(pool.clone(), OutboxOptions::default());
    outbox.migrate().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let error = outbox.enqueue(&mut tx, &large).await.unwrap_err();
    assert_eq!(error.kind(), OutboxErrorKind::TooLarge);
    outbox.enqueue(&mut tx, &envelope("a", 1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(outbox.status().await.unwrap().pending, 1);
}

/// Whatever the features are: it is passed on as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valid_trace_in_a_row_travels_with_its_event() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        let envelopes: Vec<_> = (1..=4).map(|number| envelope("a", number)).collect();
        outbox.enqueue(&envelopes, true).await;
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for statement in [
            "UPDATE stratt_outbox SET traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'",
            "UPDATE stratt_outbox SET tracestate = 'a=1' WHERE id = (SELECT min(id) FROM stratt_outbox)",
            "UPDATE stratt_outbox SET traceparent = traceparent || '-', tracestate = 'a=1' WHERE id = (SELECT min(id) + 1 FROM stratt_outbox)",
            "UPDATE stratt_outbox SET tracestate = 'a=1
Nats-Msg-Id: another' WHERE id = (SELECT min(id) + 2 FROM stratt_outbox)",
        ] {
            outbox.run(statement).await;
        }
        match &outbox {
            Outbox::Postgres(..) => {
                outbox.run("UPDATE stratt_outbox SET tracestate = repeat('x', 30000) WHERE id = (SELECT min(id) + 3 FROM stratt_outbox)").await;
            }
            Outbox::Sqlite(..) => {
                outbox.run("UPDATE stratt_outbox SET tracestate = hex(zeroblob(15000)) WHERE id = (SELECT min(id) + 3 FROM stratt_outbox)").await;
            }
        }
        let relay = outbox.relay(&stage.bridge);
        eventually("stored", || stored(&stage), |stored| *stored == 4).await;
        let mut carried = Vec::new();
        for sequence in 1..=4 {
            let message = stage.stream(Feed::Strat).await.get_raw_message(sequence).await.unwrap();
            let text = |name: &str| message.headers.get(name).map(ToString::to_string);
            carried.push((text("traceparent"), text("tracestate")));
        }
        let parent = Some(parent.to_owned());
        assert_eq!(
            carried,
            [(parent.clone(), Some("a=1".into())), (None, None), (parent.clone(), None), (parent, None)]
        );
        assert_eq!(relay.stop().await.quarantined, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_relays_one_publishes_and_another_takes_over() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default()).await {
        let stage = Stage::new().await;
        let mut relays: Vec<_> = (0..3).map(|_| outbox.relay(&stage.bridge)).collect();
        let mut number = 0;
        let (mut published, mut duplicates) = (0, 0);
        while !relays.is_empty() {
            for _ in 0..20 {
                number += 1;
                outbox.enqueue(&[envelope(&format!("unit-{}", number % 7), number)], true).await;
            }
            eventually("stored", || stored(&stage), |stored| *stored == number).await;
            let summary = relays.remove(0).stop().await;
            published += summary.published;
            duplicates += summary.duplicates;
        }
        assert_eq!((published, duplicates), (number, 0), "{outbox:?}");
        assert_eq!(outbox.status().await.pending, 0);
        // One that dies keeps the lead until its lease is over.
        let dies = outbox.relay(&stage.bridge);
        outbox.enqueue(&[envelope("a", 1000)], true).await;
        eventually("stored", || stored(&stage), |stored| *stored == number + 1).await;
        dies.abort();
        let heir = outbox.relay(&stage.bridge);
        outbox.enqueue(&[envelope("a", 1001)], true).await;
        eventually("stored", || stored(&stage), |stored| *stored == number + 2).await;
        heir.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_kept_for_a_while_and_removed() {
    support::needs!(Postgres);
    for outbox in Outbox::both(OutboxOptions::default().with_keep_sent(Duration::from_secs(1))).await {
        let stage = Stage::new().await;
        let relay = outbox.relay(&stage.bridge);
        let envelopes: Vec<_> =
            (0..2500).map(|number| envelope(&format!("unit-{}", number % 100), number)).collect();
        outbox.enqueue(&envelopes, true).await;
        eventually("stored", || stored(&stage), |stored| *stored == 2500).await;
        let rows = || outbox.count("SELECT count(*) FROM stratt_outbox");
        eventually("rows", rows, |rows| *rows == 0).await;
        relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_stream_of_one_kind_holds_up_only_its_own_events() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let outbox = Outbox::postgres(&database().await, OutboxOptions::default()).await;
    // Takes the events of `dev` only.
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: EVENT_STREAM.into(),
        subjects: vec!["strat.dev.>".into()],
        ..Default::default()
    };
    stage.context().create_stream(config).await.unwrap();
    let elsewhere =
        UnitPublished::new("strat://legal/rule/a@1.0.0".parse().unwrap(), published("a", 1).fingerprint);
    outbox.enqueue(&[Envelope::builder(elsewhere, source()).build().unwrap()], true).await;
    let relay = outbox.relay(&stage.bridge);
    for number in 1..=50 {
        outbox.enqueue(&[envelope("a", number)], true).await;
    }
    eventually("stored", || stored(&stage), |stored| *stored == 50).await;
    eventually("status", || outbox.status(), |status| status.pending == 1).await;
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.bridge.provision(&Topology::default()).await.unwrap();
    eventually("stored", || stored(&stage), |stored| *stored == 1).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_the_database_are_waited_out() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let mut server = Postgres::start().await.unwrap();
    let outbox = Outbox::postgres(server.url(), OutboxOptions::default()).await;
    let relay = outbox.relay(&stage.bridge);
    outbox.enqueue(&[envelope("a", 1)], true).await;
    eventually("stored", || stored(&stage), |stored| *stored == 1).await;
    server.kill();
    server.restart().await.unwrap();
    let committed = || async {
        let Outbox::Postgres(pool, outbox) = &outbox else { panic!("not PostgreSQL") };
        let mut tx = pool.begin().await.ok()?;
        outbox.enqueue(&mut tx, &envelope("a", 2)).await.ok()?;
        tx.commit().await.ok()
    };
    eventually("commit", committed, Option::is_some).await;
    eventually("stored", || stored(&stage), |stored| *stored == 2).await;
    relay.stop().await;
}

#[tokio::test]
async fn without_its_table_a_relay_says_what_to_do() {
    support::needs!(Postgres);
    let stage = Stage::new().await;
    let pool = PgPool::connect(&database().await).await.unwrap();
    let postgres = PostgresOutbox::new(pool, OutboxOptions::default());
    let sqlite = SqliteOutbox::new(sqlite_pool().await, OutboxOptions::default());
    for relay in [postgres.relay(&stage.bridge), sqlite.relay(&stage.bridge)] {
        let error = Relaying::start(relay).failure().await;
        assert_eq!(error.kind(), OutboxErrorKind::Mismatch, "{error:?}");
        assert!(error.to_string().contains("migrate()"), "{error}");
    }
}

#[tokio::test]
async fn several_processes_migrate_at_once_in_any_schema() {
    support::needs!(Postgres);
    let url = database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    sqlx::query("CREATE SCHEMA events").execute(&pool).await.unwrap();
    let options = OutboxOptions::default().with_table("events.outbox".parse().unwrap());
    let migrating = (0..8).map(|_| Outbox::postgres(&url, options.clone()));
    let outboxes = futures::future::join_all(migrating).await;
    outboxes[0].enqueue(&[envelope("a", 1)], true).await;
    assert_eq!(outboxes[7].status().await.pending, 1);
    let pool = sqlite_pool().await;
    let options = OutboxOptions::default().with_table("main.outbox".parse().unwrap());
    let migrating = (0..8).map(|_| Outbox::sqlite(pool.clone(), options.clone()));
    let outboxes = futures::future::join_all(migrating).await;
    outboxes[0].enqueue(&[envelope("a", 1)], true).await;
    assert_eq!(outboxes[7].status().await.pending, 1);
}
