//! The service that keeps units and announces what becomes of them, each in the transaction that makes it so.
//!
//! ```sh
//! cargo run -p orchestrator-http
//! ```
//!
//! It keeps units in a file of SQLite and starts a broker of its own, unless the environment names others;
//! `--help` lists the variables that it reads. As a user who may not create streams, such as `orchestrator`
//! of `strattctl permissions`, set `STREAMS=check`.
//!
//! In another terminal (`--json` needs curl 7.82):
//!
//! ```sh
//! U=http://127.0.0.1:8080/units RULE=$U/dev/rule/no-secrets@1.0.0 CHAIN=$U/legal/chain/review@2.1.0
//! curl --json '{"uri":"strat://dev/rule/no-secrets@1.0.0","content":{"text":"Never print one."}}' $U
//! curl $RULE
//! curl --json '{"reason":"old","successor":"strat://dev/rule/no-secrets@2.0.0"}' $RULE/deprecate
//! curl -X POST $RULE/verify
//! # The published content is changed behind the back of the service.
//! python3 -c "import sqlite3, tempfile
//! with sqlite3.connect(tempfile.gettempdir() + '/orchestrator_http.db') as db:
//!     db.execute('UPDATE units SET content = 1')"
//! curl -X POST $RULE/verify
//! # What is published again is restored, and published for the second time.
//! curl --json '{"uri":"strat://dev/rule/no-secrets@1.0.0","content":{"text":"Never print one."}}' $U
//! X=$(printf x | sha256sum | cut -c-64)
//! curl --json "{\"imported\":\"choco://docs/style\",\"fingerprint\":\"sha256:$X\"}" $RULE/imports
//! curl --json '{"uri":"strat://legal/chain/review@2.1.0","content":["draft","approve"]}' $U
//! curl -X POST $CHAIN/gates/approve/runs/run-1/fire
//! curl --json '{"outcome":"pass","resolvedBy":"user:bob"}' $CHAIN/gates/approve/runs/run-1/resolve
//! # A problem names the field.
//! curl --json '{"uri":"strat://dev/rule/*@1.0.0","content":1}' $U
//! curl http://127.0.0.1:8080/readyz
//! curl http://127.0.0.1:8080/metrics
//! ```
//!
//! A browser shows streams, durables and dead letters at <http://127.0.0.1:8080/console>, and changes nothing there.
//!
//! Each answer says under `announced` which event was enqueued, or null where the request found what it asks for:
//! every request may be repeated. The log names the broker;
//! `NATS_URL=... cargo run -p examples --example choco_adapter` listens to it.
//!
//! Every answer but those of hyper itself says what is wrong as `application/problem+json`. What is no HTTP
//! (400), has more than 100 header fields or too long ones (431), or a path of more than 64 KiB (414) never
//! gets here: hyper answers by the status alone, without a body, and has no place where one could be put in.
//! It closes a connection whose request has no complete head within `HTTP_READ_TIMEOUT`, without an answer.
//!
//! Left to what stands before it: TLS, who may do what, and how many may connect.

mod api;
#[path = "../../src/bin/strattctl/connect/mod.rs"]
mod connect;
mod content;
mod database;
mod database_url;
mod health;
mod metrics;
mod orchestrator;
mod problem;
mod request;
mod serve;
mod settings;
mod streams;
mod unit;

use api::Service;
use clap::Parser;
use database::Database;
use futures::FutureExt;
use metrics::Metrics;
use orchestrator::Orchestrator;
use settings::{Arguments, Settings};
use std::{error::Error, sync::Arc, time::Duration};
use stratt_event_bridge::{
    ConnectionWatch, EventBridge, Source, async_nats::ConnectOptions, testing::NatsServer,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{sleep, timeout},
};
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn Error + Send + Sync>;

/// The time limit of running requests when the service is asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// The time limit of publishing their events then.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    Arguments::parse();
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(level).init();
    // Spawned, since a task on a worker thread is quicker than the thread that blocks on it.
    tokio::spawn(serve()).await?.inspect_err(|error| tracing::error!(error, "orchestrator cannot go on"))
}

async fn serve() -> Result<(), Failure> {
    let stop = asked_to_stop()?.boxed().shared();
    let Settings { http_addr, read_timeout, database: database_url, streams } = Settings::from_env()?;
    let database = Database::open(&database_url).await?;
    // Dropped at the end, after the relay has drained.
    let own_broker =
        if connect::variable("NATS_URL")?.is_none() { Some(NatsServer::start().await?) } else { None };
    let servers = connect::servers_or(own_broker.as_ref().map_or("", NatsServer::url))?;
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::new().name("orchestrator-http").event_callback(watch.callback());
    let client = connect::connect(&servers, options).await?;
    let source: Source = format!("orchestrator-http:publisher:{}", env!("CARGO_PKG_VERSION")).parse()?;
    let bridge = EventBridge::with_options(client, source, connect::bridge_options()?);
    let bridge = bridge.with_connection_watch(watch);
    streams.set_up(&bridge).await?;
    let listener = TcpListener::bind(&http_addr).await;
    let listener = listener.map_err(|error| format!("cannot listen on {http_addr}: {error}"))?;
    let url = format!("http://{}", listener.local_addr()?);

    let (stop_relay, relay_stopped) = oneshot::channel::<()>();
    let relay = database.relay(&bridge);
    let (metrics, source) = (Arc::new(Metrics::of(relay.progress())), bridge.source().clone());
    let mut relay = tokio::spawn(relay.run(async move {
        let _stopped_or_dropped = relay_stopped.await;
    }));
    let orchestrator = Orchestrator { database: database.clone(), metrics, source };
    let router = api::router(Arc::new(Service { orchestrator, bridge, streams, read_timeout }));
    tracing::info!(url, database = %database_url, broker = %servers, "orchestrator is ready");

    let serving = serve::serve(listener, router, read_timeout, stop.clone());
    tokio::select! {
        () = serving => {}
        () = stop.then(|()| sleep(SHUTDOWN_GRACE)) => tracing::warn!("requests were cut off"),
        ended = &mut relay => {
            ended??;
            return Err("relay has ended".into());
        }
    }
    drain(&database).await;
    let _already_ended = stop_relay.send(());
    let summary = relay.await??;
    database.close().await;
    tracing::info!(?summary, "orchestrator has drained");
    Ok(())
}

/// Waits until all that is committed is published, for a while: what is left waits for the next start.
async fn drain(database: &Database) {
    let all_published = async {
        while database.outbox_status().await.is_ok_and(|outbox| outbox.pending > 0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(DRAIN_GRACE, all_published).await.is_err() {
        tracing::warn!("events are left in the outbox, and published after the next start");
    }
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
