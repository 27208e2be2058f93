//! The settings from the environment.

use crate::{Failure, connect::variable, database_url::DatabaseUrl, streams::Streams};
use clap::Parser;
use std::{num::NonZero, str::FromStr, time::Duration};
use stratt_event_bridge::topology::Topology;

/// Keeps units and announces what becomes of them, over HTTP.
#[derive(Debug, Parser)]
#[command(name = "orchestrator-http", after_help = format!("{VARIABLES}\n\n{}", crate::connect::VARIABLES))]
pub(crate) struct Arguments {}

const VARIABLES: &str = "\
Reads from the environment:
  HTTP_ADDR           where it listens, by default 127.0.0.1:8080
  HTTP_READ_TIMEOUT   seconds for the head of a request to come, and as many for its body; by default 10
  DATABASE_URL        postgres://... or sqlite:path, by default a file in the folder for temporary files
  NATS_REPLICAS       how many servers keep each stream, by default 1
  STREAMS             provision (default): creates the streams unless they are there
                      check: they are provisioned elsewhere
  RUST_LOG            level of the log, by default info
Without NATS_URL it starts a nats-server that ends with it.";

/// Where the service listens, and what it works with.
pub(crate) struct Settings {
    pub(crate) http_addr: String,
    /// The time limit of the head of a request, and again of its body.
    pub(crate) read_timeout: Duration,
    pub(crate) database: DatabaseUrl,
    pub(crate) streams: Streams,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, Failure> {
        let file = std::env::temp_dir().join("orchestrator_http.db");
        let replicas = parsed("NATS_REPLICAS", "1", "must be a number such as 3")?;
        let read_timeout: NonZero<u32> =
            parsed("HTTP_READ_TIMEOUT", "10", "must be a number of seconds, 1 or more")?;
        let streams = variable("STREAMS")?;
        Ok(Self {
            http_addr: variable("HTTP_ADDR")?.unwrap_or_else(|| "127.0.0.1:8080".into()),
            read_timeout: Duration::from_secs(read_timeout.get().into()),
            database: variable("DATABASE_URL")?
                .unwrap_or_else(|| format!("sqlite:{}", file.display()))
                .parse()
                .map_err(|problem| format!("DATABASE_URL: {problem}"))?,
            streams: match streams.as_deref() {
                None | Some("provision") => {
                    Streams::Provisioned(Box::new(Topology::default().with_replicas(replicas)))
                }
                Some("check") => Streams::Checked,
                Some(_) => return Err("STREAMS: must be provision or check".into()),
            },
        })
    }
}

fn parsed<T: FromStr>(name: &'static str, default: &str, problem: &str) -> Result<T, Failure> {
    let value = variable(name)?;
    let read = value.as_deref().unwrap_or(default).parse();
    read.map_err(|_| format!("{name}: {problem}").into())
}
