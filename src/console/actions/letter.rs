//! Redriving and discarding one dead letter.

use crate::{
    console::{
        access::Visit,
        actions::perform::{Asked, perform},
        audit::{Action, Target},
        pages::sequence,
        refusal::Refusal,
        state::Console,
    },
    dead_letter::RedriveOptions,
};
use axum::{
    Extension, Form,
    extract::{Path, State},
    response::Response,
};
use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where the operator goes from a dead letter that is gone.
const NEXT: &str = "/dead-letters";

#[derive(Debug, Deserialize)]
pub(super) struct Redrive {
    older: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Discard {
    confirm: Option<String>,
}

pub(super) async fn redrive(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(text): Path<String>,
    Form(Redrive { older }): Form<Redrive>,
) -> Result<Response, Refusal> {
    let (sequence, takes_older) = (sequence(&text)?, older.is_some());
    let options = RedriveOptions::default().with_older_than_newest(takes_older);
    let letters = console.bridge.dead_letters().with_redrive_options(options);
    let asked = Asked {
        action: Action::Redrive,
        target: Target::Letter(sequence),
        settings: json!({ "older": takes_older }),
    };
    let work = async move {
        let receipt = letters.redrive(sequence).await?;
        Ok(format!("redriven as sequence {} of {}", receipt.sequence(), receipt.stream()))
    };
    perform(console, visit, asked, NEXT, work.boxed()).await
}

pub(super) async fn discard(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(text): Path<String>,
    Form(Discard { confirm }): Form<Discard>,
) -> Result<Response, Refusal> {
    let sequence = sequence(&text)?;
    if confirm.as_deref() != Some("yes") {
        return Err(Refusal::wrong_input("discarding is to be confirmed: send confirm=yes"));
    }
    let letters = console.bridge.dead_letters();
    let asked = Asked { action: Action::Discard, target: Target::Letter(sequence), settings: Value::Null };
    let work = async move {
        letters.discard(sequence).await?;
        Ok("discarded".to_owned())
    };
    perform(console, visit, asked, NEXT, work.boxed()).await
}
