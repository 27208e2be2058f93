//! Provisioning, verifying and healing.

use crate::{
    failure::{Failure, complain},
    output::Output,
    text::duration,
};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::time::Duration;
use stratt_event_bridge::{
    EventBridge,
    topology::{Topology, TopologyError},
};

/// The settings of the streams, as far as they are not the defaults.
#[derive(Debug, Args)]
pub(crate) struct TopologyArguments {
    /// Replicas of each stream; 1 by default
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Age at which messages are removed, such as 30d, which is the default
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
    /// Leave out `CHOCO_STRATT`, for an account of events only
    #[arg(long)]
    without_choco: bool,
    /// Allow batches (nats-server 2.12)
    #[arg(long)]
    batches: bool,
    /// Forward to Choco from a durable (nats-server 2.15)
    #[arg(long)]
    durable_source: bool,
}

impl TopologyArguments {
    fn topology(&self) -> Topology {
        let mut topology = Topology::default().with_replicas(self.replicas);
        if let Some(age) = self.max_age {
            topology = topology.with_max_age(age);
        }
        if self.without_choco {
            topology = topology.without_choco();
        }
        topology.with_batches(self.batches).with_durable_source(self.durable_source)
    }
}

/// A form in which other tools read the streams.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Rendering {
    /// One JSON object a line, for `nats stream add --config` and the API of `JetStream`
    Json,
    /// Resources for NACK, the controller for Kubernetes, in YAML
    Nack,
}

/// Writes the streams down.
pub(crate) fn render(
    arguments: &TopologyArguments,
    rendering: Rendering,
    output: &mut Output,
) -> Result<(), Failure> {
    let topology = arguments.topology();
    match rendering {
        Rendering::Json => {
            for stream in topology.to_json()? {
                output.json(&stream)?;
            }
            Ok(())
        }
        Rendering::Nack if output.is_json() => Ok(output.json(&json!({ "nack": topology.to_nack()? }))?),
        Rendering::Nack => Ok(output.raw(topology.to_nack()?.as_bytes())?),
    }
}

/// Shows every difference, and returns whether there is none.
pub(crate) async fn verify(
    bridge: &EventBridge,
    arguments: &TopologyArguments,
    output: &mut Output,
) -> Result<bool, Failure> {
    let is_equal = compare(bridge, arguments, output).await?;
    if !is_equal {
        complain("these differ; `strattctl provision --yes` changes them");
    }
    Ok(is_equal)
}

async fn compare(
    bridge: &EventBridge,
    arguments: &TopologyArguments,
    output: &mut Output,
) -> Result<bool, Failure> {
    match bridge.verify(&arguments.topology()).await {
        Ok(()) => {
            output.item(&json!({ "verified": true }), || "streams are as they should be".to_owned())?;
            Ok(true)
        }
        Err(error) => {
            differs(error, output)?;
            Ok(false)
        }
    }
}

/// Writes the differences; an error that has none is a failure.
fn differs(error: TopologyError, output: &mut Output) -> Result<(), Failure> {
    if error.differences().is_empty() {
        return Err(error.into());
    }
    for difference in error.differences() {
        output.item(difference, || {
            let (stream, field) = (difference.stream(), difference.field());
            let advice = if difference.is_immutable() { ", and cannot be changed" } else { "" };
            format!("{stream}: {field} is {}, not {}{advice}", difference.found(), difference.wanted())
        })?;
    }
    Ok(())
}

pub(crate) async fn provision(
    bridge: &EventBridge,
    arguments: &TopologyArguments,
    yes: bool,
    output: &mut Output,
) -> Result<bool, Failure> {
    if yes {
        bridge.provision(&arguments.topology()).await?;
        output.item(&json!({ "provisioned": true }), || "streams are as they should be".to_owned())?;
        return Ok(true);
    }
    let is_equal = compare(bridge, arguments, output).await?;
    if !is_equal {
        complain("these differ; nothing is done without --yes");
    }
    Ok(true)
}

/// Lets another server lead the stream of Choco, and returns whether it was done or was not needed.
pub(crate) async fn heal(bridge: &EventBridge, yes: bool, output: &mut Output) -> Result<bool, Failure> {
    let seen = bridge.forwarding().await?;
    output.item(&seen, || seen.to_string())?;
    if seen.behind() == Some(0) {
        complain("nothing is owed, so there is nothing to heal");
        return Ok(true);
    }
    if seen.is_choco_full() {
        complain(
            "healing is of no use: `strattctl verify` shows the limits, `strattctl provision --yes` sets them",
        );
        return Ok(false);
    }
    if !yes {
        complain("nothing is done without --yes; each time interrupts the consumers of Choco for a moment");
        return Ok(!seen.is_stalled());
    }
    bridge.heal_forwarding().await?;
    output.item(&json!({ "healed": true }), || "another server leads CHOCO_STRATT".to_owned())?;
    Ok(true)
}
