//! Pausing and resuming durables.

use crate::{
    arguments::feed,
    failure::{Failure, missing},
    output::Output,
    text::{duration, rfc3339},
};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use stratt_event_bridge::{
    ConsumerName, EventBridge, Feed,
    async_nats::jetstream::{ErrorCode, response::Response},
};
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

#[derive(Debug, Deserialize)]
struct Answer {
    paused: bool,
}

pub(crate) async fn obey(
    bridge: &EventBridge,
    command: &ConsumerCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    match command {
        ConsumerCommand::Pause { durable, length } => {
            let until = OffsetDateTime::now_utc().checked_add((*length).try_into().map_err(Failure::new)?);
            let until = until.and_then(rfc3339).ok_or_else(|| Failure::wrong_usage("pause is too long"))?;
            let answer = ask(bridge, durable, json!({ "pause_until": until })).await?;
            write(durable, &answer, Some(&until), output)
        }
        ConsumerCommand::Resume { durable } => {
            let answer = ask(bridge, durable, json!({})).await?;
            write(durable, &answer, None, output)
        }
    }
}

/// Shows what the durable is now, and returns whether it is as wanted.
fn write(
    durable: &DurableArguments,
    answer: &Answer,
    until: Option<&str>,
    output: &mut Output,
) -> Result<bool, Failure> {
    let DurableArguments { name, feed } = durable;
    let json =
        json!({ "stream": feed.stream(), "name": name.as_str(), "paused": answer.paused, "until": until });
    output.item(&json, || match until {
        Some(until) => format!("{name} of {feed} is paused until {until}"),
        None => format!("{name} of {feed} is not paused"),
    })?;
    Ok(answer.paused == until.is_some())
}

async fn ask(bridge: &EventBridge, durable: &DurableArguments, body: Value) -> Result<Answer, Failure> {
    let DurableArguments { name, feed } = durable;
    if !bridge.client().is_server_compatible(2, 11, 0) {
        return Err(Failure::new("server is too old to pause durables: 2.11 is needed"));
    }
    let request = format!("CONSUMER.PAUSE.{}.{name}", feed.stream());
    match bridge.jetstream().request(request, &body).await.map_err(Failure::no_broker)? {
        Response::Ok(answer) => Ok(answer),
        Response::Err { error } => Err(match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Failure::new(missing(feed)),
            ErrorCode::CONSUMER_NOT_FOUND => Failure::new(format!(
                "durable {name} of {feed} does not exist: `strattctl status` lists them"
            )),
            _ => Failure::new(error),
        }),
    }
}
