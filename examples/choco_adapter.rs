//! A Choco adapter as a service: consumes `unit.published` and `unit.deprecated`, drains on SIGTERM, logs JSON lines.
//!
//! ```sh
//! NATS_URL=nats://127.0.0.1:4222 DURABLE=choco-catalogue STREAM=CHOCO_STRATT cargo run -p examples --example choco_adapter
//! ```
//!
//! `NATS_URL` is where the broker is; credentials are named as for the command `nats` (`NATS_CREDS`, `NATS_USER`,
//! `NATS_PASSWORD`, `NATS_CA`, `NATS_CERT`, `NATS_KEY`). `DURABLE` the name of the durable (default `choco-adapter`), `STREAM` the stream
//! to read (`CHOCO_STRATT`, the default, or `STRATT_EVENTS`). `RUST_LOG` sets the level.

#[path = "support/connect.rs"]
mod connect;

use std::{error::Error, pin::pin, sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConnectionWatch, Delivery, EventBridge, Feed, HandlerError, UnitDeprecated, UnitPublished, async_nats,
    dedupe::{KvStore, KvStoreOptions},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval_at},
};
use tracing_subscriber::EnvFilter;

/// How often it says how it is doing.
const LOOKS_EVERY: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(level).init();
    // Spawned, since a task on a worker thread is quicker than the thread that blocks on it.
    tokio::spawn(serve()).await?.inspect_err(|error| tracing::error!(error, "adapter cannot go on"))
}

async fn serve() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = connect::url();
    let durable = setting("DURABLE", "choco-adapter");
    let stream = setting("STREAM", Feed::Choco.stream());
    let feed = [Feed::Choco, Feed::Strat].into_iter().find(|feed| feed.stream() == stream);
    let feed = feed.ok_or_else(|| format!("STREAM is {stream}: must be CHOCO_STRATT or STRATT_EVENTS"))?;
    let watch = ConnectionWatch::new();
    let options = async_nats::ConnectOptions::new().name(&durable).event_callback(watch.callback());
    let client = connect::connect(&url, options).await?;

    let store = KvStore::create(client.clone(), KvStoreOptions::default()).await?;
    let bridge = EventBridge::new(client, "choco-adapter:catalogue:0.1.0".parse()?).watching(watch);
    let consumer = bridge
        .consumer(&durable, Arc::new(store))
        .feed(feed)
        .on(list_in_catalogue)
        .on(remove_from_catalogue)
        .build()
        .await?;
    let url = connect::without_credentials(&url);
    tracing::info!(url, durable, stream, "adapter is ready");
    let monitor = consumer.monitor();
    let mut running = pin!(consumer.run(asked_to_stop()?));
    let mut ticks = interval_at(Instant::now() + LOOKS_EVERY, LOOKS_EVERY);
    loop {
        tokio::select! {
            summary = &mut running => {
                tracing::info!(summary = ?summary?, "adapter has drained");
                return Ok(());
            }
            _ = ticks.tick() => {
                let status = monitor.status();
                let (is_working, pending, counts) = (status.is_working(), status.pending(), status.counts());
                tracing::info!(is_working, in_flight = status.in_flight(), pending, ?counts, "adapter looks after events");
            }
        }
    }
}

async fn list_in_catalogue(delivery: Delivery<UnitPublished>) -> Result<(), HandlerError> {
    let event = delivery.event();
    tracing::info!(uri = %event.uri, fingerprint = %event.fingerprint, attempt = delivery.attempt(), "listed");
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

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
