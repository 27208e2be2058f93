//! The status of everything.

use crate::{
    failure::{Failure, chain, complain},
    output::Output,
};
use serde::Serialize;
use stratt_event_bridge::{
    BridgeStatus, EventBridge, Feed, StreamStatus,
    durables::{Activity, DurableStatus, DurablesError, DurablesErrorKind},
    topology::DEAD_LETTER_STREAM,
};

#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    bridge: &'a BridgeStatus,
    /// `null` if they cannot be listed.
    durables: Option<Vec<DurableStatus>>,
}

/// Shows the status, and returns whether all is well.
pub(crate) async fn show(bridge: &EventBridge, output: &mut Output) -> Result<bool, Failure> {
    let status = bridge.status().await;
    if !status.is_jetstream_reachable() {
        let why = status.connection_error().unwrap_or("does not answer, or this user may not ask it");
        return Err(Failure::no_broker(format!("JetStream: {why}")));
    }
    let durables = match all(bridge).await {
        Ok(durables) => Some(durables),
        Err(error) => {
            complain(&chain(&error));
            None
        }
    };
    let is_missing = status.streams().iter().any(StreamStatus::is_missing);
    let is_stalled = status.forwarding().is_some_and(stratt_event_bridge::topology::Forwarding::is_stalled);
    let is_full = status
        .forwarding()
        .is_some_and(|seen| seen.is_choco_full() && seen.behind().is_none_or(|left| left > 0));
    let shown = Shown { bridge: &status, durables };
    if output.is_json() {
        output.json(&shown)?;
    } else {
        write(&shown, output)?;
    }
    Ok(!is_missing && !is_stalled && !is_full)
}

async fn all(bridge: &EventBridge) -> Result<Vec<DurableStatus>, DurablesError> {
    let (durables, mut all) = (bridge.durables(), Vec::new());
    for feed in [Feed::Strat, Feed::Choco] {
        match durables.list(feed).await {
            Ok(found) => all.extend(found),
            // The list of streams says so.
            Err(error) if error.kind() == DurablesErrorKind::StreamNotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn write(Shown { bridge, durables }: &Shown<'_>, output: &mut Output) -> Result<(), Failure> {
    let (name, version) = (bridge.server_name(), bridge.server_version());
    let server = format!("{} ({})", name.unwrap_or("unknown"), version.unwrap_or("unknown"));
    output.line(&format!("server      {server}"))?;
    for stream in bridge.streams() {
        let name = stream.name();
        let line = match stream.state() {
            Some(state) => format!(
                "{} messages, {} bytes, sequences {} to {}",
                state.messages, state.bytes, state.first_sequence, state.last_sequence
            ),
            None if stream.is_missing() => "missing: `strattctl provision --yes` creates it".to_owned(),
            None => "not known: may this user look it up?".to_owned(),
        };
        output.line(&format!("stream      {name:<16} {line}"))?;
    }
    let letters = bridge.streams().iter().find(|stream| stream.name() == DEAD_LETTER_STREAM);
    if let Some(count) = letters.and_then(StreamStatus::state).map(|state| state.messages).filter(|n| *n > 0)
    {
        output
            .line(&format!("letters     {count} dead letters: `strattctl dead-letters groups` says why"))?;
    }
    let forwarding = bridge.forwarding().map_or_else(|| "not known".to_owned(), ToString::to_string);
    output.line(&format!("forwarding  {forwarding}"))?;
    for durable in durables.iter().flatten() {
        let paused = durable
            .paused_for()
            .map_or_else(String::new, |left| format!(", paused for {} s", left.as_secs()));
        let idle = match durable.activity() {
            activity @ (Activity::Busy | Activity::Absent) => format!(", {activity}"),
            _ => String::new(),
        };
        let (stream, name) = (durable.feed().stream(), durable.name());
        let (pending, unanswered) = (durable.pending(), durable.unanswered());
        let redelivered = durable.redelivered();
        output.line(&format!(
            "durable     {stream:<16} {name}: {pending} pending, {unanswered} unanswered, {redelivered} redelivered\
             {paused}{idle}"
        ))?;
    }
    Ok(())
}
