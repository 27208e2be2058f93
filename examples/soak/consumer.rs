//! A consumer process: this very program, started by itself.

use crate::{Failure, children::leave_death_note, dependency::Dependency, network::connect};
use ledger::{Journal, Ledger, WitnessStore};
use std::{io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use stratt_event_bridge::{
    CircuitBreaker, ConsumerOptions, Delivery, DurableConsumer, EventBridge, Feed, HandlerError, Order,
    UnitPublished,
    dedupe::{KvStore, KvStoreOptions},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub const DURABLE: &str = "soak";
pub const URLS: &str = "SOAK_URLS";
pub const JOURNAL: &str = "SOAK_JOURNAL";
pub const ORDERED: &str = "SOAK_ORDERED";
/// The exit code of a consumer that could not start without a broker: its supervisor tries again.
pub const COULD_NOT_START: u8 = 3;

/// The settings of a child.
pub struct Given {
    urls: Vec<String>,
    journal: PathBuf,
    order: Order,
}

/// Returns the settings from the parent process, if this is a child.
pub fn given() -> Option<Given> {
    let urls = std::env::var(URLS).ok()?.split(',').map(ToOwned::to_owned).collect();
    let order = if std::env::var(ORDERED).ok()? == "true" { Order::PerUnit } else { Order::Relaxed };
    Some(Given { urls, journal: std::env::var_os(JOURNAL)?.into(), order })
}

pub fn store_options() -> KvStoreOptions {
    // All processes run on one machine, with one clock.
    KvStoreOptions::default().with_replicas(3).with_skew_margin(Duration::from_millis(100))
}

/// Returns options with short times, so that leases expire and processes are replaced within the soak.
fn options(order: Order) -> ConsumerOptions {
    ConsumerOptions::default()
        .with_order(order)
        .with_processing_timeout(Duration::from_secs(8))
        .with_lease(Duration::from_secs(4))
        .with_ack_wait(Duration::from_secs(5))
        .with_max_attempts(6)
        .with_retry_delays([200, 1000, 2000, 4000].map(Duration::from_millis))
        .with_circuit_breaker(CircuitBreaker::default().with_probe_interval(Duration::from_millis(500)))
        .with_shutdown_grace(Duration::from_secs(3))
}

pub async fn run(given: Given) -> Result<ExitCode, Failure> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new("info")).init();
    let mut terminate = signal(SignalKind::terminate())?;
    let started = tokio::select! {
        started = start(given) => started,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
    };
    let consumer = match started {
        Ok(consumer) => consumer,
        Err(error) => {
            eprintln!("could not start: {error}");
            return Ok(ExitCode::from(COULD_NOT_START));
        }
    };
    let summary = consumer.run(async move { _ = terminate.recv().await }).await?;
    println!("{summary:?}");
    Ok(ExitCode::SUCCESS)
}

async fn start(given: Given) -> Result<DurableConsumer, Failure> {
    let client = connect(given.urls).await?;
    let context = Arc::new(Context {
        dependency: Dependency::beside(&given.journal),
        path: given.journal.clone(),
        journal: Arc::new(Ledger::new(0, given.journal).journal()?),
    });
    let journal = Arc::clone(&context.journal);
    let store = KvStore::open(client.clone(), store_options()).await?;
    let store = WitnessStore::new(Arc::new(store), journal);
    let consumer = EventBridge::new(client, "choco-adapter:soak:0.1.0".parse()?)
        .consumer(DURABLE, Arc::new(store))
        .feed(Feed::Choco)
        .options(options(given.order))
        .on(move |delivery| handle(Arc::clone(&context), delivery));
    Ok(consumer.build().await?)
}

async fn handle(context: Arc<Context>, delivery: Delivery<UnitPublished>) -> Result<(), HandlerError> {
    context.journal.ran(&delivery)?;
    if context.dependency.is_away() {
        let error = "what it depends on is away";
        // Not every handler knows whose fault it is.
        return Err(if fastrand::u8(..4) == 0 {
            HandlerError::defer(error)
        } else {
            HandlerError::retry(error)
        });
    }
    let is_first = delivery.attempt() == 1;
    match delivery.event().actor.as_deref() {
        Some("fails once") if is_first => return Err(HandlerError::retry("as it must")),
        Some("fails") => return Err(HandlerError::retry("as it always does")),
        Some("is rejected") => return Err(HandlerError::reject("as it must be")),
        #[allow(clippy::panic, reason = "to see it caught")]
        Some("panics once") if is_first => panic!("as it must"),
        Some("kills its process") => context.abort()?,
        Some("hangs once") if is_first => std::future::pending().await,
        // Longer than its lease, which is renewed.
        Some("is long") => tokio::time::sleep(Duration::from_secs(6)).await,
        Some("is slow") => tokio::time::sleep(Duration::from_millis(500)).await,
        _ => tokio::time::sleep(Duration::from_millis(fastrand::u64(..5))).await,
    }
    context.journal.effect(&delivery)?;
    Ok(())
}

/// The things that the handlers use.
struct Context {
    path: PathBuf,
    journal: Arc<Journal>,
    dependency: Dependency,
}

impl Context {
    fn abort(&self) -> io::Result<()> {
        self.journal.crashed(std::process::id())?;
        leave_death_note(&self.path)?;
        std::process::abort()
    }
}
