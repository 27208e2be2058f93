//! Events as they are stored.

use crate::{
    arguments::feed,
    failure::{Failure, chain},
    output::Output,
    text::{rfc3339, time},
};
use clap::Args;
use futures::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use stratt_event_bridge::{
    ConsumerName, Domain, EventBridge, EventType, Feed,
    watch::{WatchError, WatchErrorKind, WatchFrom, WatchOptions, WatchedEvent},
};

#[derive(Debug, Args)]
pub(crate) struct TailCommand {
    /// strat or choco
    #[arg(long, default_value = "strat", value_parser = feed)]
    feed: Feed,
    /// Begin here: now, oldest, a sequence, or a time (RFC 3339)
    #[arg(long, default_value = "now", value_parser = from, value_name = "WHERE")]
    from: WatchFrom,
    /// Only this event type, such as unit.published; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    event_types: Vec<EventType>,
    /// Only this domain; may be repeated
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<Domain>,
    #[command(flatten)]
    name: WatchName,
    /// End after so many events
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

/// The name of the watch, for users whose permissions name it.
#[derive(Debug, Args)]
pub(crate) struct WatchName {
    /// Name of the watch, for a user whose permissions name it, as `strattctl permissions` has it
    #[arg(long, value_name = "NAME")]
    name: Option<ConsumerName>,
}

impl WatchName {
    /// Returns the options of a watch of this name.
    pub(crate) fn options(&self, from: WatchFrom) -> WatchOptions {
        let options = WatchOptions::default().with_from(from);
        match &self.name {
            Some(name) => options.with_name(name.clone()),
            None => options,
        }
    }
}

fn from(text: &str) -> Result<WatchFrom, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(WatchFrom::Sequence(sequence));
    }
    match text {
        "now" => Ok(WatchFrom::Now),
        "oldest" => Ok(WatchFrom::Oldest),
        _ => time(text).map(WatchFrom::Time).map_err(|_| "must be now, oldest, a sequence or a time".into()),
    }
}

/// An event. The names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Follows the events until their number is reached, the reader has gone, or the program is interrupted.
pub(crate) async fn follow(
    bridge: &EventBridge,
    command: &TailCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    let options = command
        .name
        .options(command.from)
        .with_event_types(command.event_types.iter().copied())
        .with_domains(command.domains.iter().cloned());
    let mut events = bridge.watch(command.feed).options(options).open().await?;
    let mut left = command.count.unwrap_or(u64::MAX);
    while left > 0 && !output.is_closed() {
        let next = tokio::select! {
            next = events.next() => next,
            _ = tokio::signal::ctrl_c() => break,
        };
        match next {
            None => break,
            Some(Ok(event)) => write(&event, output)?,
            Some(Err(error)) if error.kind() == WatchErrorKind::Closed => return Err(error.into()),
            Some(Err(error)) => write_error(&error, output)?,
        }
        left -= 1;
    }
    Ok(true)
}

fn write(event: &WatchedEvent, output: &mut Output) -> Result<(), Failure> {
    let envelope = event.envelope();
    let json = envelope.encode().map_err(Failure::new)?;
    let json = String::from_utf8(json).ok().and_then(|json| RawValue::from_string(json).ok());
    let stored_at = rfc3339(event.stored_at());
    let (sequence, subject, error) = (Some(event.sequence()), None, None);
    let shown = Shown { sequence, stored_at, envelope: json, subject, error };
    output.item(&shown, || {
        let time = shown.stored_at.as_deref().unwrap_or("-");
        let payload = shown.envelope.as_ref().map_or("", |json| json.get());
        format!("{:>8}  {time}  {}  {payload}", event.sequence(), envelope.idempotency_key())
    })?;
    Ok(())
}

fn write_error(error: &WatchError, output: &mut Output) -> Result<(), Failure> {
    let (sequence, subject) = (error.sequence(), error.subject().map(str::to_owned));
    let shown = Shown { sequence, stored_at: None, envelope: None, subject, error: Some(chain(error)) };
    output.item(&shown, || {
        let sequence = sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string());
        let subject = shown.subject.as_deref().unwrap_or_default();
        format!("{sequence:>8}  {subject}  {}", chain(error))
    })?;
    Ok(())
}
