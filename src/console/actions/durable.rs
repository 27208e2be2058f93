//! Pausing and resuming a durable.

use crate::console::{
    access::Visit,
    actions::perform::{Asked, perform},
    audit::{Action, Target},
    pages::{durable::named, feed_name},
    refusal::Refusal,
    state::Console,
};
use axum::{
    Extension, Form,
    extract::{Path, State},
    response::Response,
};
use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// The longest pause, in minutes: a week, as long as the page offers.
const MOST_MINUTES: u32 = 7 * 24 * 60;

#[derive(Debug, Deserialize)]
pub(super) struct Pause {
    minutes: u32,
}

pub(super) async fn pause(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(path): Path<(String, String)>,
    Form(Pause { minutes }): Form<Pause>,
) -> Result<Response, Refusal> {
    let (feed, name) = named(&path)?;
    if !(1..=MOST_MINUTES).contains(&minutes) {
        return Err(Refusal::wrong_input(format!("minutes must be 1 to {MOST_MINUTES}")));
    }
    let until = OffsetDateTime::now_utc() + Duration::from_secs(u64::from(minutes) * 60);
    let durables = console.bridge.durables();
    let asked = Asked {
        action: Action::Pause,
        target: Target::Durable(feed, name.clone()),
        settings: json!({ "minutes": minutes }),
    };
    let next = format!("/durables/{}/{name}", feed_name(feed));
    let work = async move {
        durables.pause(feed, &name, until).await?;
        Ok(format!("paused for {minutes} minutes"))
    };
    perform(console, visit, asked, &next, work.boxed()).await
}

pub(super) async fn resume(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (feed, name) = named(&path)?;
    let durables = console.bridge.durables();
    let asked =
        Asked { action: Action::Resume, target: Target::Durable(feed, name.clone()), settings: Value::Null };
    let next = format!("/durables/{}/{name}", feed_name(feed));
    let work = async move {
        durables.resume(feed, &name).await?;
        Ok("resumed".to_owned())
    };
    perform(console, visit, asked, &next, work.boxed()).await
}
