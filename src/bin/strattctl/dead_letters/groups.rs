//! Dead letters of one cause, together.

use crate::{
    dead_letters::{
        arguments::{Filter, Pace},
        bulk::{self, Outcome},
    },
    failure::{Failure, chain, complain},
    output::Output,
    text::rfc3339,
};
use futures::StreamExt;
use indicatif::ProgressBar;
use serde::Serialize;
use stratt_event_bridge::dead_letter::{
    DeadLetterError, DeadLetterErrorKind, DeadLetterFilter, DeadLetterGroup, DeadLetters,
};

/// The names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    group: String,
    count: u64,
    consumer: String,
    event_type: String,
    reason: Option<&'static str>,
    error: String,
    first: Option<String>,
    last: Option<String>,
    example: u64,
}

impl From<&DeadLetterGroup> for Shown {
    fn from(group: &DeadLetterGroup) -> Self {
        Self {
            group: group.id(),
            count: group.count(),
            consumer: group.consumer().to_owned(),
            event_type: group.event_type().to_owned(),
            reason: group.reason().map(|reason| reason.as_str()),
            error: group.error_pattern().to_owned(),
            first: group.first_time().and_then(rfc3339),
            last: group.last_time().and_then(rfc3339),
            example: group.example().sequence(),
        }
    }
}

pub(super) async fn show(
    dead_letters: &DeadLetters,
    filter: &Filter,
    output: &mut Output,
) -> Result<bool, Failure> {
    let groups = dead_letters.groups(filter.of_library()).await?;
    if groups.is_empty() {
        complain("no dead letters");
    }
    for group in groups {
        let shown = Shown::from(&group);
        output.item(&shown, || {
            let Shown { group, count, consumer, event_type, error, example, .. } = &shown;
            let (reason, last) = (shown.reason.unwrap_or("-"), shown.last.as_deref().unwrap_or("-"));
            format!(
                "{group}  {count:>6}  {reason:<9}  {consumer}  {event_type}  (the last {last}, such as letter \
                 {example})  {error}"
            )
        })?;
    }
    Ok(true)
}

/// Returns the group with this name.
pub(super) async fn find(dead_letters: &DeadLetters, id: &str) -> Result<DeadLetterGroup, Failure> {
    let groups = dead_letters.groups(DeadLetterFilter::default()).await?;
    let found = groups.into_iter().find(|group| group.id() == id);
    let missing =
        || Failure::new(format!("group {id}: not found: `strattctl dead-letters groups` lists them"));
    found.ok_or_else(missing)
}

/// Redrives a group, a canary first, and returns whether all succeeded.
pub(super) async fn redrive(
    dead_letters: &DeadLetters,
    group: &DeadLetterGroup,
    pace: &Pace,
    left_out: usize,
    output: &mut Output,
) -> Result<bool, Failure> {
    let mut redriven = dead_letters.redrive_group(group, pace.options()).await?;
    let progress = ProgressBar::new(group.count());
    let (mut done, mut failed) = (0_u64, 0_u64);
    while let Some(outcome) = redriven.next().await {
        if let Err(error) = &outcome
            && error.kind() == DeadLetterErrorKind::Unavailable
        {
            progress.finish_and_clear();
            complain(&format!("{done} redriven, {failed} failed"));
        }
        let outcome = match outcome {
            Ok(receipt) => {
                done += 1;
                Outcome::redriven(None, &receipt)
            }
            Err(error) if error.kind() == DeadLetterErrorKind::Unavailable => return Err(error.into()),
            Err(error) => {
                failed += 1;
                failure(&error)
            }
        };
        progress.suspend(|| outcome.write(output))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let behind = bulk::said(left_out);
    complain(&if failed == 0 && done > 1 {
        format!("{done} redriven, the others once the first was handled{behind}")
    } else if failed == 0 {
        format!("{done} redriven{behind}")
    } else {
        format!("{done} redriven, {failed} failed{behind}")
    });
    Ok(failed == 0 && (done > 0 || left_out == 0))
}

fn failure(error: &DeadLetterError) -> Outcome {
    Outcome::failed(error.sequence(), chain(error))
}
