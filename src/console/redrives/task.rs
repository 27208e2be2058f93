//! The task that redrives a group.

use crate::{
    console::{
        audit::{Audit, Entry, Phase},
        redrives::{Ending, Progress},
    },
    dead_letter::{DeadLetterError, DeadLetterErrorKind, DeadLetterGroup, DeadLetters, GroupRedriveOptions},
    report::report,
};
use futures::StreamExt;
use std::{pin::pin, sync::Arc};

/// Redrives a group until it is done, fails, or is stopped, and writes the outcome down.
pub(in crate::console) async fn run(
    letters: DeadLetters,
    group: DeadLetterGroup,
    options: GroupRedriveOptions,
    progress: Arc<Progress>,
    audit: Audit,
    entry: Entry,
) {
    let ending = match redrive(&letters, &group, options, &progress).await {
        Ok(ending) => ending,
        Err(error) => Ending::Failed(report(&error).to_string()),
    };
    let seen = progress.seen();
    let counts = format!("{} of {} redriven, {} refused", seen.redriven, seen.total, seen.refused);
    let (phase, outcome) = match &ending {
        Ending::Done => (Phase::Done, counts),
        Ending::Stopped => (Phase::Done, format!("stopped: {counts}")),
        Ending::Failed(why) => (Phase::Failed, format!("{counts}: {why}")),
    };
    audit.write_outcome(&entry.ended(phase, outcome)).await;
    progress.end(ending);
}

async fn redrive(
    letters: &DeadLetters,
    group: &DeadLetterGroup,
    options: GroupRedriveOptions,
    progress: &Progress,
) -> Result<Ending, DeadLetterError> {
    let redriven = letters.redrive_group(group, options).await?;
    let mut redriven = pin!(redriven.take_until(progress.stop.cancelled()));
    while let Some(one) = redriven.next().await {
        match one {
            Ok(_) => progress.redriven(),
            Err(error) if ends_all(error.kind()) => return Err(error),
            Err(error) => progress.refused(report(&error).to_string()),
        }
    }
    Ok(if progress.stop.is_cancelled() { Ending::Stopped } else { Ending::Done })
}

/// Returns whether the others of the group are left because of it.
fn ends_all(kind: DeadLetterErrorKind) -> bool {
    matches!(
        kind,
        DeadLetterErrorKind::CanaryFailed
            | DeadLetterErrorKind::CanaryPending
            | DeadLetterErrorKind::FailedAgain
    )
}
