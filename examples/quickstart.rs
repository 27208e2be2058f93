//! The whole flow on a real server that it starts: `cargo run --example quickstart --features testing`.
//!
//! Starts a nats-server of its own, or connects as the command `nats` does where `NATS_URL` is set, as a user
//! who may do everything: it has all roles at once. Publishes all seven events and one repeat, and shows a
//! Choco consumer that receives them from `choco.strat.>`: one event fails twice and then succeeds, one never
//! succeeds, ends in the dead letters, is redriven and then handled. Ends with the counts, and exit code 1 if
//! one is not as it must be.
#![allow(clippy::print_stdout, reason = "an example is there to be read")]

#[path = "../src/bin/strattctl/connect/mod.rs"]
mod connect;

use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use std::{
    error::Error,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    AnyEvent, ChainGateFired, ChainGateResolved, ConnectionWatch, ConsumeSummary, ConsumerOptions, Delivery,
    EventBridge, Feed, GateOutcome, HandlerError, StartAt, UnitDeprecated, UnitFingerprintVerified,
    UnitImportResolved, UnitPublished, UnitTampered, async_nats::ConnectOptions,
    dead_letter::DeadLetterFilter, dedupe::MemoryStore, testing::NatsServer, topology::Topology,
};
use tokio::{sync::oneshot, time::sleep};
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    // No parser, so that a first run builds none.
    if std::env::args_os().len() > 1 {
        println!("usage: quickstart, without arguments\n\n{}", connect::VARIABLES);
        return Ok(ExitCode::from(2));
    }
    let begun = Instant::now();
    let say = move |text: String| println!("{:>6} ms  {text}", begun.elapsed().as_millis());
    let server =
        if connect::variable("NATS_URL")?.is_none() { Some(NatsServer::start().await?) } else { None };
    let servers = connect::servers_or(server.as_ref().map_or("", NatsServer::url))?;
    // Hears what the server refuses, so that a missing permission is reported as what it is.
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::new().event_callback(watch.callback());
    let client = connect::connect(&servers, options).await?;
    say(format!("connected to {servers}, nats-server {}", client.server_info().version));
    let source = "orchestrator-http:quickstart:0.1.0".parse()?;
    let bridge = EventBridge::with_options(client, source, connect::bridge_options()?);
    let bridge = bridge.with_connection_watch(watch);
    bridge.provision(&Topology::default()).await?;
    say("provisioned STRATT_EVENTS -> CHOCO_STRATT and STRATT_DLQ".into());

    let adapter = Adapter::default();
    // On a server that others use as well, this run has a durable of its own, which begins now and ends with it.
    let name = format!("quickstart-{}", Uuid::new_v4().simple());
    let options = ConsumerOptions::default()
        .with_max_attempts(3)
        .with_retry_delays([Duration::from_millis(200)])
        .with_start_at(StartAt::New);
    let consumer = bridge
        .consumer(&name, Arc::new(MemoryStore::new()))
        .feed(Feed::Choco)
        .options(options)
        .on(adapter.handler(say))
        .build()
        .await?;
    let mut counts = publish(&bridge, &say).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run(async move {
        let _stopped_or_dropped = stopped.await;
    }));
    counts.redriven = redrive(&bridge, &name, &adapter, &say).await?;
    wait_until(|| Box::pin(async { Ok(adapter.handled.load(Ordering::SeqCst) == 7) })).await?;
    let _already_ended = stop.send(());
    let summary = running.await??;
    let stream = bridge.jetstream().get_stream(Feed::Choco.stream()).await?;
    stream.delete_consumer(&name).await?;
    say(format!("stopped: {summary:?}"));
    let is_right = counts.check(&summary);
    println!(
        "{}: published {} duplicates {} received {} handled {} retried {} dead-lettered {} redriven {}",
        if is_right { "ok" } else { "WRONG" },
        counts.published,
        counts.refused_repeats,
        summary.received,
        summary.handled,
        summary.retried,
        summary.exhausted,
        counts.redriven
    );
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Counts {
    published: u64,
    refused_repeats: u64,
    redriven: u64,
}

impl Counts {
    /// Seven events, each handled once: one after two failed attempts, one after a dead letter of three.
    fn check(&self, summary: &ConsumeSummary) -> bool {
        (self.published, self.refused_repeats, self.redriven) == (7, 1, 1)
            && (summary.handled, summary.exhausted, summary.rejected, summary.invalid) == (7, 1, 0, 0)
            // Two of the flaky event, two of the hopeless one before its last.
            && (summary.retried, summary.received) == (4, 12)
    }
}

/// All seven events, and the first of them once more.
async fn publish(bridge: &EventBridge, say: &impl Fn(String)) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let events = seven_events()?;
    let repeat = events.first().cloned();
    for event in events.into_iter().chain(repeat) {
        let shown = describe(&event);
        let receipt = bridge.publish(event).await?;
        let (stream, sequence) = (receipt.stream(), receipt.sequence());
        if receipt.is_duplicate() {
            counts.refused_repeats += 1;
            say(format!("repeat    {shown}: the broker has it already, as {stream} {sequence}"));
        } else {
            counts.published += 1;
            say(format!("published {shown} as {stream} {sequence}"));
        }
    }
    Ok(counts)
}

/// A stand-in for the work of a real consumer.
#[derive(Default)]
struct Adapter {
    vault_is_up: Arc<AtomicBool>,
    handled: Arc<AtomicU64>,
}

impl Adapter {
    fn handler(
        &self,
        say: impl Fn(String) + Copy + Send + Sync + 'static,
    ) -> impl Fn(Delivery<AnyEvent>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync + 'static
    {
        let (vault_is_up, handled) = (Arc::clone(&self.vault_is_up), Arc::clone(&self.handled));
        move |delivery| {
            let (vault_is_up, handled) = (Arc::clone(&vault_is_up), Arc::clone(&handled));
            Box::pin(async move {
                let (shown, attempt) = (describe(delivery.event()), delivery.attempt());
                let problem = match delivery.event() {
                    AnyEvent::UnitDeprecated(_) if attempt < 3 => "catalogue is busy",
                    AnyEvent::UnitTampered(_) if !vault_is_up.load(Ordering::SeqCst) => "vault is down",
                    _ => {
                        say(format!("handled   {shown}, attempt {attempt}"));
                        handled.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                };
                say(format!("failed    {shown}, attempt {attempt}: {problem}"));
                Err(HandlerError::retry(problem))
            })
        }
    }
}

/// Waits for the dead letter, shows it, mends what was broken, and redrives it.
async fn redrive(
    bridge: &EventBridge,
    consumer: &str,
    adapter: &Adapter,
    say: &impl Fn(String),
) -> Result<u64, Failure> {
    let dead_letters = bridge.dead_letters();
    let filter = DeadLetterFilter::default().with_consumer(consumer.parse()?);
    let list = || {
        let (dead_letters, filter) = (dead_letters.clone(), filter.clone());
        async move { Ok::<_, Failure>(dead_letters.list(filter).await?.try_collect::<Vec<_>>().await?) }
    };
    wait_until(|| Box::pin(async { Ok(!list().await?.is_empty()) })).await?;
    for letter in list().await? {
        say(format!(
            "dead      {} {} after {} deliveries: {}",
            letter.sequence(),
            letter.subject(),
            letter.deliveries(),
            letter.error()
        ));
    }
    adapter.vault_is_up.store(true, Ordering::SeqCst);
    let mut count = 0;
    let mut redriven = dead_letters.redrive_all(filter.clone()).await?;
    while let Some(receipt) = redriven.next().await {
        let receipt = receipt?;
        say(format!("redriven  as {} {}", receipt.stream(), receipt.sequence()));
        count += 1;
    }
    Ok(count)
}

async fn wait_until<'a>(
    condition: impl Fn() -> BoxFuture<'a, Result<bool, Failure>>,
) -> Result<bool, Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if condition().await? {
            return Ok(true);
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}

fn describe(event: &AnyEvent) -> String {
    use stratt_event_bridge::Event;
    format!("{:<25} {}", event.event_type(), event.unit_uri())
}

/// New facts at every run, so that a server that has seen the last run does not take them for repeats.
fn seven_events() -> Result<Vec<AnyEvent>, Failure> {
    let fingerprint = || format!("blake3:{0}{0}", Uuid::new_v4().simple()).parse();
    let rule = || "strat://dev/rule/no-secrets@1.0.0".parse();
    let chain = || "strat://legal/chain/contract-review@2.1.0".parse();
    let (gate, run) = ("human-approval", Uuid::new_v4().to_string());
    Ok(vec![
        UnitPublished::new(rule()?, fingerprint()?).with_actor("user:alice@example.com").into(),
        UnitDeprecated::new(rule()?, fingerprint()?).with_reason("superseded").into(),
        UnitTampered::new("strat://core/role/reviewer@0.3.0".parse()?, fingerprint()?, fingerprint()?).into(),
        UnitFingerprintVerified::new("strat://ops/task/rotate-keys@1.2.0".parse()?, fingerprint()?).into(),
        UnitImportResolved::new(rule()?, "choco://docs/style-guide".parse()?, fingerprint()?).into(),
        ChainGateFired::new(chain()?, gate.parse()?, run.parse()?, fingerprint()?).into(),
        ChainGateResolved::new(chain()?, gate.parse()?, run.parse()?, fingerprint()?, GateOutcome::Pass)
            .into(),
    ])
}
