//! The bytes of an event that was dead-lettered.

use crate::{
    console::{
        pages::sequence,
        refusal::Refusal,
        state::Console,
        text::{self, line, number, size},
    },
    dead_letter::DeadLetter,
};
use axum::{
    extract::{Path, State},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Answers by the bytes as they are, as a file that no browser shows.
pub(in crate::console) async fn bytes(
    State(console): State<Arc<Console>>,
    Path(text): Path<String>,
) -> Result<Response, Refusal> {
    if !console.options.shows_payloads() {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "payloads are not shown by this service"));
    }
    let letter = console.bridge.dead_letters().get(sequence(&text)?).await?;
    let file = format!("attachment; filename=\"dead-letter-{}.bin\"", letter.sequence());
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, file)];
    Ok((headers, letter.payload().clone()).into_response())
}

pub(super) fn part(place: &str, letter: &DeadLetter, is_shown: bool) -> Markup {
    let length = u64::try_from(letter.payload().len()).unwrap_or(u64::MAX);
    html! {
        @if letter.is_payload_omitted() {
            p {
                "It is too large to be stored with its dead letter: it is in " (line(letter.stream()))
                " at sequence " (number(letter.stream_sequence())) "."
            }
        } @else if !is_shown {
            p { (size(length)) ", which this service does not show." }
        } @else {
            @let (shown, is_cut) = text::bytes(letter.payload());
            p {
                (size(length))
                @if std::str::from_utf8(letter.payload()).is_err() { ", no UTF-8, as hexadecimal digits" }
                @if is_cut { ", of which the beginning is shown" }
                ". " a href={ (place) "/payload" } { "Download" }
            }
            pre tabindex="0" aria-label="Bytes of the event" { (shown) }
        }
    }
}
