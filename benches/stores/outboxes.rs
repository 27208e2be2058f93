//! Relaying a backlog from each outbox.

use crate::{Bench, Failure, median};
use std::time::{Duration, Instant};
use stratt_event_bridge::{
    Envelope, EventBridge, UnitPublished,
    outbox::{OutboxOptions, OutboxRelay, PostgresOutbox, SqliteOutbox},
    testing::NatsServer,
    topology::Topology,
};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) async fn measure(bench: &Bench) -> Result<(), Failure> {
    let Bench { postgres: pool, sqlite: file, rounds, count } = bench;
    let (rounds, count) = (*rounds, *count);
    let postgres = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    postgres.migrate().await?;
    let sqlite = SqliteOutbox::new(file.clone(), OutboxOptions::default());
    sqlite.migrate().await?;
    let brokers = [
        Broker::start("", "2m", false).await?,
        Broker::start(", batches allowed", "2m", true).await?,
        Broker::start(", each write synced", "always", false).await?,
        Broker::start(", each write synced, batches allowed", "always", true).await?,
    ];
    for Broker { name, bridge, .. } in &brokers {
        let (mut on_postgres, mut on_sqlite) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            // The same for each: reading gets slower with what is kept.
            sqlx::query("DELETE FROM stratt_outbox").execute(pool).await?;
            sqlx::query("DELETE FROM stratt_outbox").execute(file).await?;
            let mut tx = pool.begin().await?;
            for envelope in envelopes(bridge, count)? {
                postgres.enqueue(&mut tx, &envelope).await?;
            }
            tx.commit().await?;
            let pending = || async { Ok(postgres.status().await?.pending) };
            on_postgres.push(relay(postgres.relay(bridge), count, pending).await?);
            let mut tx = file.begin().await?;
            for envelope in envelopes(bridge, count)? {
                sqlite.enqueue(&mut tx, &envelope).await?;
            }
            tx.commit().await?;
            let pending = || async { Ok(sqlite.status().await?.pending) };
            on_sqlite.push(relay(sqlite.relay(bridge), count, pending).await?);
        }
        for (database, rates) in [("PostgreSQL", on_postgres), ("SQLite, WAL", on_sqlite)] {
            println!("{database:<12} relay of a backlog, events/s           {:>9.0}{name}", median(rates));
        }
    }
    Ok(())
}

/// A broker that a relay publishes to.
struct Broker {
    name: &'static str,
    bridge: EventBridge,
    _server: NatsServer,
    _folder: TempDir,
}

impl Broker {
    async fn start(name: &'static str, syncs: &str, takes_batches: bool) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let store = folder.path().display();
        let config = format!("jetstream {{ store_dir: \"{store}\", sync_interval: {syncs} }}");
        let server = NatsServer::builder().config(config).start().await?;
        let bridge = EventBridge::new(server.connect().await?, "orchestrator-http:publisher:1.4.0".parse()?);
        bridge.provision(&Topology::default().with_batches(takes_batches)).await?;
        Ok(Self { name, bridge, _server: server, _folder: folder })
    }
}

fn envelopes(bridge: &EventBridge, count: usize) -> Result<Vec<Envelope<UnitPublished>>, Failure> {
    let envelope = |number: usize| {
        let fingerprint = format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse()?;
        let uri = format!("strat://dev/rule/no-secrets-{:03}@1.0.0", number % 500).parse()?;
        let event = UnitPublished::new(uri, fingerprint).with_actor("user:alice@example.com");
        Ok(Envelope::builder(event, bridge.source().clone()).build()?)
    };
    (0..count).map(envelope).collect()
}

/// Runs a relay until all is published and marked, and returns the events per second.
async fn relay<F, Fut>(relay: OutboxRelay, count: usize, pending: F) -> Result<f64, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<u64, Failure>>,
{
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let begun = Instant::now();
    let running = tokio::spawn(relay.run(async move {
        let _stopped = stopped.await;
    }));
    while pending().await? > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    drop(stop);
    let summary = running.await??;
    assert_eq!(summary.published, u64::try_from(count)?, "{summary:?}");
    Ok(rate)
}
