//! Redriving a group, and stopping that.

use crate::{
    console::{
        access::Visit,
        actions::perform::{Asked, answer, begun, perform, uncancelled},
        audit::{Action, Target},
        pages::find_group,
        redrives::{self, Ending},
        refusal::Refusal,
        state::Console,
    },
    dead_letter::GroupRedriveOptions,
};
use axum::{
    Extension, Form,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Settings {
    interval_ms: u32,
    canary_s: u32,
    most_failed: u8,
    again: Option<String>,
}

impl Settings {
    fn options(&self) -> GroupRedriveOptions {
        GroupRedriveOptions::default()
            .with_interval(Duration::from_millis(self.interval_ms.into()))
            .with_canary_wait(Duration::from_secs(self.canary_s.into()))
            .with_most_failed(self.most_failed)
            .with_redriven(self.again.is_some())
    }
}

/// Begins the redrive of a group, which goes on after the request.
pub(super) async fn redrive(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(settings): Form<Settings>,
) -> Result<Response, Refusal> {
    let group =
        find_group(&console, &id).await?.ok_or_else(|| Refusal::not_found("group of dead letters"))?;
    let under_way =
        || Refusal::new(StatusCode::CONFLICT, "a redrive of this group is under way: stop it first");
    let (who, place) = (visit.visitor().name().to_owned(), visit.path(&format!("/groups/{id}")));
    let wants_json = visit.wants_json();
    uncancelled(async move {
        let progress = console.redrives.begin(&id, &who, group.count()).ok_or_else(under_way)?;
        let asked = Asked { action: Action::Redrive, target: Target::Group(id), settings: json!(settings) };
        let entry = begun(&console, &visit, asked).await.inspect_err(|refusal| {
            progress.end(Ending::Failed(refusal.why().to_owned()));
        })?;
        let (letters, audit) = (console.bridge.dead_letters(), console.audit.clone());
        tokio::spawn(redrives::run(letters, group, settings.options(), progress, audit, entry));
        Ok(())
    })
    .await?;
    Ok(answer(wants_json, "begun", &place))
}

/// Stops the redrive of a group; what was redriven stays so.
pub(super) async fn stop(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let progress = console.redrives.get(&id).ok_or_else(|| Refusal::not_found("redrive of this group"))?;
    let next = format!("/groups/{id}");
    let asked = Asked { action: Action::Stop, target: Target::Group(id), settings: Value::Null };
    let work = async move {
        progress.stop();
        Ok("stopped".to_owned())
    };
    perform(console, visit, asked, &next, work.boxed()).await
}
