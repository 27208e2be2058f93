//! The same as JSON, for programs. Names are stable.

use crate::{
    console::{
        audit::Entry,
        pages::{self, sequence},
        redrives::Seen,
        refusal::Refusal,
        state::Console,
    },
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterGroup},
};
use axum::{
    Json,
    extract::{Path, State},
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(super) async fn status(State(console): State<Arc<Console>>) -> impl IntoResponse {
    let figures = console.figures.read(&console.bridge).await;
    Json(json!(&*figures))
}

pub(super) async fn groups(State(console): State<Arc<Console>>) -> Result<Json<Value>, Refusal> {
    let groups = console.bridge.dead_letters().groups(DeadLetterFilter::default()).await?;
    Ok(Json(groups.iter().map(group).collect()))
}

pub(super) async fn redrive(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Json<Seen>, Refusal> {
    let progress = console.redrives.get(&id).ok_or_else(|| Refusal::not_found("redrive of this group"))?;
    Ok(Json(progress.seen()))
}

pub(super) async fn letter(
    State(console): State<Arc<Console>>,
    Path(text): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let letter = console.bridge.dead_letters().get(sequence(&text)?).await?;
    Ok(Json(shown(&letter, console.options.shows_payloads())))
}

pub(super) async fn audit(State(console): State<Arc<Console>>) -> Result<Json<Vec<Entry>>, Refusal> {
    pages::audit::newest(&console).await.map(Json)
}

fn group(group: &DeadLetterGroup) -> Value {
    json!({
        "group": group.id(),
        "consumer": group.consumer(),
        "eventType": group.event_type(),
        "reason": group.reason().map(|reason| reason.as_str()),
        "error": group.error_pattern(),
        "count": group.count(),
        "first": group.first_time().and_then(rfc3339),
        "last": group.last_time().and_then(rfc3339),
        "example": group.example().sequence(),
    })
}

fn shown(letter: &DeadLetter, with_payload: bool) -> Value {
    let values = |values: &[_]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let headers = letter.headers().iter().map(|(name, of_name)| (name.to_string(), values(of_name)));
    let (encoding, payload) = match std::str::from_utf8(letter.payload()) {
        _ if !with_payload => ("hidden", None),
        Ok(text) => ("text", Some(text.to_owned())),
        Err(_) => ("base64", Some(STANDARD.encode(letter.payload()))),
    };
    json!({
        "sequence": letter.sequence(),
        "consumer": letter.consumer(),
        "reason": letter.reason().map(|reason| reason.as_str()),
        "error": letter.error(),
        "deliveries": letter.deliveries(),
        "stream": letter.stream(),
        "streamSequence": letter.stream_sequence(),
        "originalSequence": letter.original_sequence(),
        "subject": letter.subject(),
        "domain": letter.domain(),
        "eventType": letter.event_type(),
        "time": letter.time().and_then(rfc3339),
        "headers": headers.collect::<BTreeMap<_, _>>(),
        "payloadEncoding": encoding,
        "payload": payload,
        "payloadOmitted": letter.is_payload_omitted(),
        "headersOmitted": letter.are_headers_omitted(),
    })
}

fn rfc3339(time: OffsetDateTime) -> Option<String> {
    time.format(&Rfc3339).ok()
}
