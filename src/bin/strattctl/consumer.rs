//! Pausing, resuming and replaying durables.

use crate::{
    arguments::feed,
    failure::{Failure, complain},
    output::Output,
    text::{duration, rfc3339, time},
};
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;
use std::time::Duration;
use stratt_event_bridge::{
    ConsumerName, Feed,
    durables::{Durables, Epoch, ReplayOptions},
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
    /// Let a consumer handle again what it was delivered since a time; without --yes it only counts the events
    Replay {
        #[command(flatten)]
        durable: DurableArguments,
        #[command(flatten)]
        replay: ReplayArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DurableArguments {
    name: ConsumerName,
    /// strat or choco
    #[arg(long, default_value = "strat", value_parser = feed)]
    feed: Feed,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// Time since which the events were stored, such as 2026-03-31T10:15:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: OffsetDateTime,
    /// Time before which they were stored
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<OffsetDateTime>,
    /// Continue the replay of this epoch: what was handled in it is not handled again
    #[arg(long, value_name = "NUMBER")]
    epoch: Option<Epoch>,
    /// Least time between two events, such as 20ms
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1ms")]
    interval: Duration,
    /// Publish them
    #[arg(long)]
    yes: bool,
}

impl ReplayArguments {
    fn options(&self) -> ReplayOptions {
        let mut options = ReplayOptions::since(self.from).with_interval(self.interval);
        if let Some(until) = self.until {
            options = options.with_until(until);
        }
        if let Some(epoch) = self.epoch {
            options = options.with_epoch(epoch);
        }
        options
    }
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
        ConsumerCommand::Replay { durable, replay } => self::replay(durables, durable, replay, output).await,
    }
}

/// Counts the events, or publishes them, and says by which epoch that is continued.
async fn replay(
    durables: &Durables,
    durable: &DurableArguments,
    arguments: &ReplayArguments,
    output: &mut Output,
) -> Result<bool, Failure> {
    let DurableArguments { name, feed } = durable;
    let replay = durables.replay(*feed, name, arguments.options()).await?;
    let (epoch, events) = (replay.epoch(), replay.count().await?);
    if !arguments.yes {
        let json = json!({ "stream": feed.stream(), "name": name.as_str(), "events": events });
        output.item(&json, || format!("{events} events would be replayed for {name} of {feed}"))?;
        complain("nothing is done without --yes");
        return Ok(true);
    }
    // On a terminal only; elsewhere it is silent by itself.
    let progress = ProgressBar::with_draw_target(Some(events), ProgressDrawTarget::stderr());
    let (mut replayed, mut published) = (0_u64, replay.publish());
    let failed = loop {
        match published.try_next().await {
            Ok(Some(_)) => {
                replayed += 1;
                progress.inc(1);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    progress.finish_and_clear();
    let json = json!({
        "stream": feed.stream(), "name": name.as_str(), "epoch": epoch.get(), "events": events, "replayed": replayed
    });
    output.item(&json, || {
        format!("{replayed} of {events} events are replayed for {name} of {feed}, epoch {epoch}")
    })?;
    failed.map_or(Ok(true), |error| {
        complain(&format!("continue it with --epoch {epoch}"));
        Err(error.into())
    })
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
