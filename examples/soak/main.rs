//! A soak: hours of use with everything failing at random, and a ledger at the end.
//!
//! ```sh
//! cargo run --release -p examples --example soak -- --minutes 20 --seed 7
//! ```
//!
//! Three nats-servers form a cluster. Publishers announce events; three consumer processes share one durable and a
//! [`KvStore`](stratt_event_bridge::dedupe::KvStore); all streams have three replicas. Meanwhile servers are killed,
//! frozen and retired, leaders step down, consumers are killed, frozen and stopped, what their handlers depend on goes
//! away, and the network loses what it carries. Some events are bad: their handlers always fail, reject them or abort
//! the process; others are handled for longer than a lease. In the end all is healed and answered, and the ledger must
//! balance: it demands among others that the dead letters are those of the bad events. The result is a one-page report,
//! and exit code 1 on any violation. With `--ordered` the consumers keep the order of each unit, and the ledger demands
//! it. The seed decides the events and the faults; the times of the faults depend on the machine.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a program that is there to be read"
)]

mod broker_faults;
mod children;
mod consumer;
mod consumer_faults;
mod dependency;
mod network;
mod publishers;
mod report;
mod settings;
mod stage;

use broker_faults::BrokerFaults;
use children::Children;
use clap::Parser;
use consumer_faults::ConsumerFaults;
use dependency::Dependency;
use publishers::Publishers;
use report::Report;
use settings::Settings;
use stage::Stage;
use std::{error::Error, process::ExitCode, time::Instant};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode, Failure> {
    if let Some(given) = consumer::given() {
        return consumer::run(given).await;
    }
    let settings = Settings::parse();
    let mut stage = Stage::start(settings).await?;
    println!("soaking for {} min, seed {}, in {}", settings.minutes, settings.seed, stage.folder().display());
    let begun = Instant::now();
    let publishers = Publishers::start(&stage, settings.seed).await?;
    let mut children = Children::start(&stage)?;
    let mut broker_faults = BrokerFaults::new(settings.seed);
    let mut consumer_faults = ConsumerFaults::new(settings.seed);
    let end = begun + settings.length();
    let networks = stage.networks();
    let dependency = Dependency::beside(&stage.folder().join("journal"));
    let (broker, consumers) = tokio::join!(
        broker_faults.inject(stage.cluster_mut(), end),
        consumer_faults.inject(&networks, &mut children, &dependency, end),
    );
    broker.and(consumers)?;
    // With bad events alone a circuit breaker would open, and wait for one that is not.
    publishers.calm();
    let mut drained = stage.wait_until_answered(&mut children).await;
    let latencies = publishers.stop().await?;
    if drained.is_ok() {
        drained = stage.wait_until_answered(&mut children).await;
    }
    let ended_by_themselves = children.stop().await?;
    let report = Report {
        settings,
        version: stage.server_version(),
        took: begun.elapsed(),
        faults: [broker_faults.injected(), consumer_faults.injected()].concat(),
        latencies,
        ended_by_themselves,
        drained,
        balance: stage.balance().await?,
    };
    println!("{report}");
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("journal and logs are kept in {}", stage.keep().display());
    Ok(ExitCode::FAILURE)
}
