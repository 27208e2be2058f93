//! A Choco adapter as a service: consumes `unit.published` and `unit.deprecated`, drains on SIGTERM, logs JSON lines.
//!
//! ```sh
//! NATS_URL=nats://127.0.0.1:4222 DURABLE=choco-catalogue STREAM=CHOCO_STRATT \
//!     cargo run -p examples --example choco_adapter
//! ```
//!
//! `--help` lists the variables that it reads. Where it may not create its durable and its bucket, as the
//! user `catalogue` of `strattctl permissions`, it uses those that are there.

#[path = "../src/bin/strattctl/connect/mod.rs"]
mod connect;

use clap::Parser;
use std::{error::Error, pin::pin, sync::Arc, time::Duration};
use stratt_event_bridge::{
    BatchOptions, ConnectionWatch, Delivery, EventBridge, Feed, HandlerError, UnitDeprecated, UnitPublished,
    async_nats,
    dedupe::{KvStore, KvStoreOptions, StoreError, StoreErrorKind},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval_at},
};
use tracing_subscriber::EnvFilter;

/// The interval of its status reports.
const LOOKS_EVERY: Duration = Duration::from_secs(60);
/// The broker is asked every 5 s and has 2 s to answer: one that was silent for longer than this is not
/// there, whatever the connection says.
const BROKER_SILENT: Duration = Duration::from_secs(15);

type Failure = Box<dyn Error + Send + Sync>;

/// Consumes unit.published and unit.deprecated until SIGTERM, then drains.
#[derive(Debug, Parser)]
#[command(name = "choco_adapter", after_help = format!("{SETTINGS}\n\n{}", connect::VARIABLES))]
struct Arguments {}

const SETTINGS: &str = "\
Reads from the environment:
  DURABLE             name of the durable, by default choco-adapter
  STREAM              CHOCO_STRATT (default) or STRATT_EVENTS
  RUST_LOG            level of the log, by default info";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    Arguments::parse();
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(level).init();
    // Spawned, since a task on a worker thread is quicker than the thread that blocks on it.
    tokio::spawn(serve()).await?.inspect_err(|error| tracing::error!(error, "adapter cannot go on"))
}

async fn serve() -> Result<(), Failure> {
    let servers = connect::servers_or("nats://127.0.0.1:4222")?;
    let durable = connect::variable("DURABLE")?.unwrap_or_else(|| "choco-adapter".into());
    let feed = connect::variable("STREAM")?.map_or(Ok(Feed::Choco), |stream| stream.parse());
    let feed = feed.map_err(|error| format!("STREAM: {error}"))?;
    let watch = ConnectionWatch::new();
    let options = async_nats::ConnectOptions::new().name(&durable).event_callback(watch.callback());
    let client = connect::connect(&servers, options).await?;

    let source = "choco-adapter:catalogue:0.1.0".parse()?;
    let bridge = EventBridge::with_options(client, source, connect::bridge_options()?);
    let bridge = bridge.with_connection_watch(watch);
    let store = store(&bridge).await?;
    let consumer = bridge
        .consumer(&durable, Arc::new(store))
        .feed(feed)
        .on_batch(BatchOptions::default(), list_in_catalogue)
        .on(remove_from_catalogue)
        .build()
        .await?;
    // Before it says that it is ready: a signal that comes right after it is to drain it, too.
    let stop = asked_to_stop()?;
    tracing::info!(url = %servers, durable, stream = %feed, "adapter is ready");
    let monitor = consumer.monitor();
    let mut running = pin!(consumer.run(stop));
    let mut ticks = interval_at(Instant::now() + LOOKS_EVERY, LOOKS_EVERY);
    loop {
        tokio::select! {
            summary = &mut running => {
                tracing::info!(summary = ?summary?, "adapter has drained");
                return Ok(());
            }
            _ = ticks.tick() => {
                let status = monitor.status();
                let is_working = status.is_working_within(BROKER_SILENT);
                let (pending, counts) = (status.pending(), status.counts());
                let in_flight = status.in_flight();
                tracing::info!(is_working, in_flight, pending, ?counts, "adapter looks after events");
            }
        }
    }
}

/// Opens the bucket, and creates it only where it cannot be opened: the user of a consumer may not create
/// any.
async fn store(bridge: &EventBridge) -> Result<KvStore, Failure> {
    match bridge.open_kv_store(KvStoreOptions::default()).await {
        Err(error) if error.kind() == StoreErrorKind::Unavailable => {
            let cause =
                |error: &StoreError| error.source().map_or_else(|| error.to_string(), ToString::to_string);
            let opening = cause(&error);
            let created = bridge.create_kv_store(KvStoreOptions::default()).await;
            Ok(created.map_err(|error| {
                format!("no dedupe store: it cannot be opened ({opening}), nor created ({})", cause(&error))
            })?)
        }
        opened => Ok(opened?),
    }
}

/// A catalogue that is written to many units at once takes them in one request. If it fails, the call is repeated with
/// each half, until the event for which it fails is alone.
async fn list_in_catalogue(batch: Vec<Delivery<UnitPublished>>) -> Result<(), HandlerError> {
    for delivery in &batch {
        let event = delivery.event();
        tracing::info!(uri = %event.uri, fingerprint = %event.fingerprint, attempt = delivery.attempt(), "listed");
    }
    Ok(())
}

async fn remove_from_catalogue(delivery: Delivery<UnitDeprecated>) -> Result<(), HandlerError> {
    let event = delivery.event();
    let successor = event.successor.as_ref().map(ToString::to_string);
    tracing::info!(uri = %event.uri, successor, attempt = delivery.attempt(), "removed");
    Ok(())
}

/// Resolves at SIGTERM, as orchestrators send it, or SIGINT, as terminals do.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
