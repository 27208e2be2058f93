//! Pausing and resuming durables.

use crate::{
    arguments::feed,
    failure::Failure,
    output::Output,
    text::{duration, rfc3339},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;
use stratt_event_bridge::{ConsumerName, Feed, durables::Durables};
use time::OffsetDateTime;

#[derive(Debug, Subcommand)]
pub(crate) enum ConsumerCommand {
    /// Stop delivering to a durable until a time (nats-server 2.11); what is being handled goes on
    Pause {
        #[command(flatten)]
        durable: DurableArguments,
        /// Length of the pause, such as 10m
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        length: Duration,
    },
    /// Deliver to a paused durable again
    Resume {
        #[command(flatten)]
        durable: DurableArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DurableArguments {
    name: ConsumerName,
    /// strat or choco
    #[arg(long, default_value = "strat", value_parser = feed)]
    feed: Feed,
}

pub(crate) async fn obey(
    durables: &Durables,
    command: &ConsumerCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    match command {
        ConsumerCommand::Pause { durable, length } => {
            let until = OffsetDateTime::now_utc().checked_add((*length).try_into().map_err(Failure::new)?);
            let until = until.ok_or_else(|| Failure::wrong_usage("pause is too long"))?;
            let text = rfc3339(until).ok_or_else(|| Failure::wrong_usage("pause is too long"))?;
            let is_paused = durables.pause(durable.feed, &durable.name, until).await?;
            write(durable, is_paused, Some(&text), output)
        }
        ConsumerCommand::Resume { durable } => {
            let is_paused = durables.resume(durable.feed, &durable.name).await?;
            write(durable, is_paused, None, output)
        }
    }
}

/// Shows what the durable is now, and returns whether it is as wanted.
fn write(
    durable: &DurableArguments,
    is_paused: bool,
    until: Option<&str>,
    output: &mut Output,
) -> Result<bool, Failure> {
    let DurableArguments { name, feed } = durable;
    let json = json!({ "stream": feed.stream(), "name": name.as_str(), "paused": is_paused, "until": until });
    output.item(&json, || match until {
        Some(until) => format!("{name} of {feed} is paused until {until}"),
        None => format!("{name} of {feed} is not paused"),
    })?;
    Ok(is_paused == until.is_some())
}
