//! The way of one event.

use crate::{
    failure::Failure,
    output::Output,
    raw,
    tail::WatchName,
    text::{rfc3339, time},
};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use stratt_event_bridge::{
    Domain, EventBridge, EventType, Feed, IdempotencyKey,
    dead_letter::DeadLetterFilter,
    dedupe::BucketName,
    durables::{DurableStatus, DurablesErrorKind},
    watch::WatchFrom,
};
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub(crate) struct ExplainCommand {
    /// The idempotency key
    key: IdempotencyKey,
    /// Search events since this time only (RFC 3339); all are read by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<OffsetDateTime>,
    #[command(flatten)]
    name: WatchName,
    /// The bucket of the dedupe store, if it is one of JetStream
    #[arg(long, default_value = "STRATT_DEDUPE")]
    bucket: BucketName,
}

/// The names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    key: String,
    stored: Vec<Place>,
    forwarded: Vec<Place>,
    durables: Vec<Way>,
    dead_letters: Vec<Letter>,
    redrives: Vec<Redrive>,
}

/// A place where the event is stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    stream: &'static str,
    sequence: u64,
    stored_at: Option<String>,
    #[serde(skip)]
    address: (Domain, EventType),
}

/// The progress of a durable with the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    stream: &'static str,
    name: String,
    /// `pending`, `unanswered_or_answered` or `answered`, as far as the broker knows.
    delivery: &'static str,
    /// The slot of the dedupe store, if that is in JetStream.
    slot: Option<String>,
    attempts: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Letter {
    sequence: u64,
    consumer: String,
    reason: Option<&'static str>,
    error: String,
}

#[derive(Debug, Serialize)]
struct Redrive {
    stream: &'static str,
    sequence: u64,
    subject: String,
}

/// Shows the way of an event, and returns whether it is stored.
pub(crate) async fn explain(
    bridge: &EventBridge,
    command: &ExplainCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    let stored = places(bridge, Feed::Strat, command).await?;
    let forwarded = places(bridge, Feed::Choco, command).await?;
    let Some(first) = stored.first().or(forwarded.first()) else {
        let key = command.key.to_string();
        return Err(Failure::new(format!("no event with the key {key} is stored")));
    };
    let (domain, event_type) = first.address.clone();
    let durables = ways(bridge, command, stored.iter().chain(&forwarded)).await?;
    let dead_letters = letters(bridge, command, &domain, event_type).await?;
    let redrives = redrives(bridge, command, &domain, event_type).await?;
    let key = command.key.to_string();
    let shown = Shown { key, stored, forwarded, durables, dead_letters, redrives };
    if output.is_json() {
        output.json(&shown)?;
    } else {
        write(&shown, output)?;
    }
    Ok(true)
}

/// Reads the feed up to its end, and returns the places of the event.
async fn places(bridge: &EventBridge, feed: Feed, command: &ExplainCommand) -> Result<Vec<Place>, Failure> {
    let all = if feed == Feed::Strat { "strat.>" } else { "choco.strat.>" };
    let Some(last) = raw::last(bridge, feed.stream(), all).await? else { return Ok(Vec::new()) };
    if command.since.is_some_and(|since| last.time().is_some_and(|time| time < since)) {
        return Ok(Vec::new());
    }
    let from = command.since.map_or(WatchFrom::Oldest, WatchFrom::Time);
    let options = command.name.options(from);
    let mut events = bridge.watch(feed).options(options).open().await?;
    let mut places = Vec::new();
    while let Some(next) = events.next().await {
        let sequence = match next {
            Ok(event) => {
                let envelope = event.envelope();
                if envelope.idempotency_key() == command.key {
                    places.push(Place {
                        stream: feed.stream(),
                        sequence: event.sequence(),
                        stored_at: rfc3339(event.stored_at()),
                        address: (envelope.domain().clone(), envelope.event_type()),
                    });
                }
                event.sequence()
            }
            Err(error) => match error.sequence() {
                Some(sequence) => sequence,
                None => return Err(error.into()),
            },
        };
        if sequence >= last.sequence {
            break;
        }
    }
    Ok(places)
}

/// Returns how far each durable is whose filters match.
async fn ways(
    bridge: &EventBridge,
    command: &ExplainCommand,
    places: impl Iterator<Item = &Place>,
) -> Result<Vec<Way>, Failure> {
    let mut ways = Vec::new();
    for place in places {
        let feed = if place.stream == Feed::Strat.stream() { Feed::Strat } else { Feed::Choco };
        let subject = feed.subject(&place.address.0, place.address.1);
        let durables = match bridge.durables().list(feed).await {
            Err(error) if error.kind() == DurablesErrorKind::StreamNotFound => Vec::new(),
            listed => listed?,
        };
        for durable in durables {
            if durable.reads(&subject) {
                ways.push(way(bridge, command, &durable, place.sequence).await?);
            }
        }
    }
    Ok(ways)
}

async fn way(
    bridge: &EventBridge,
    command: &ExplainCommand,
    durable: &DurableStatus,
    sequence: u64,
) -> Result<Way, Failure> {
    let delivery = durable.delivery_of(sequence).as_str();
    let slot = raw::slot(bridge, &command.bucket, durable.name(), &command.key.to_string()).await?;
    let (slot, attempts) = slot.map_or((None, None), |slot| (Some(slot.state), slot.attempt));
    Ok(Way { stream: durable.feed().stream(), name: durable.name().to_owned(), delivery, slot, attempts })
}

async fn letters(
    bridge: &EventBridge,
    command: &ExplainCommand,
    domain: &Domain,
    event_type: EventType,
) -> Result<Vec<Letter>, Failure> {
    let filter = DeadLetterFilter::default().with_domain(domain.clone()).with_event_type(event_type);
    let mut found = bridge.dead_letters().list(filter).await?;
    let mut letters = Vec::new();
    while let Some(letter) = found.try_next().await? {
        if letter.envelope().is_ok_and(|envelope| envelope.idempotency_key() == command.key) {
            letters.push(Letter {
                sequence: letter.sequence(),
                consumer: letter.consumer().to_owned(),
                reason: letter.reason().map(|reason| reason.as_str()),
                error: letter.error().to_owned(),
            });
        }
    }
    Ok(letters)
}

/// Returns the redrives of the event, which have its key in their message ids.
async fn redrives(
    bridge: &EventBridge,
    command: &ExplainCommand,
    domain: &Domain,
    event_type: EventType,
) -> Result<Vec<Redrive>, Failure> {
    let stream = Feed::Strat.stream();
    let filter = format!("stratt.redrive.*.{domain}.{event_type}");
    let wanted = format!("Nats-Msg-Id: {}:redrive:", command.key);
    let (mut redrives, mut from) = (Vec::new(), 1);
    while let Some(found) = raw::next(bridge, stream, from, &filter).await? {
        from = found.sequence + 1;
        if found.header().contains(&wanted) {
            redrives.push(Redrive { stream, sequence: found.sequence, subject: found.subject });
        }
    }
    Ok(redrives)
}

fn write(shown: &Shown, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!("key         {}", shown.key))?;
    for (what, places) in [("stored", &shown.stored), ("forwarded", &shown.forwarded)] {
        if places.is_empty() {
            output.line(&format!("{what:<11} not, or not any more"))?;
        }
        for Place { stream, sequence, stored_at, .. } in places {
            let time = stored_at.as_deref().unwrap_or("-");
            output.line(&format!("{what:<11} {stream} {sequence} at {time}"))?;
        }
    }
    for Way { stream, name, delivery, slot, attempts } in &shown.durables {
        let slot = slot.as_deref().unwrap_or("not known here");
        let attempts = attempts.map_or_else(String::new, |attempts| format!(" after {attempts} attempts"));
        let delivery = delivery.replace('_', " ");
        output.line(&format!("durable     {stream} {name}: {delivery}; dedupe slot: {slot}{attempts}"))?;
    }
    for Letter { sequence, consumer, reason, error } in &shown.dead_letters {
        let reason = reason.unwrap_or("-");
        output.line(&format!("dead letter {sequence} of {consumer}: {reason}: {error}"))?;
    }
    for Redrive { stream, sequence, subject } in &shown.redrives {
        output.line(&format!("redriven    {stream} {sequence} on {subject}"))?;
    }
    Ok(())
}
