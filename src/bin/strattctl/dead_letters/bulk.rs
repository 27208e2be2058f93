//! Redriving and discarding many.

use crate::{
    dead_letters::{arguments::Chosen, groups},
    failure::{Failure, chain, complain},
    output::Output,
};
use futures::{TryStreamExt, future::BoxFuture};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;
use std::{future::ready, io};
use stratt_event_bridge::{
    PublishReceipt,
    dead_letter::{DeadLetterError, DeadLetterFilter, DeadLetters},
};

type Done = Result<Option<PublishReceipt>, DeadLetterError>;

/// The operation on each dead letter.
pub(super) struct Work {
    done: &'static str,
    planned: &'static str,
    run: fn(&DeadLetters, u64) -> BoxFuture<'_, Done>,
}

pub(super) const REDRIVE: Work = Work {
    done: "redriven",
    planned: "would be redriven",
    run: |dead_letters, sequence| Box::pin(async move { dead_letters.redrive(sequence).await.map(Some) }),
};

pub(super) const DISCARD: Work = Work {
    done: "discarded",
    planned: "would be discarded",
    run: |dead_letters, sequence| {
        Box::pin(async move { dead_letters.discard(sequence).await.map(|()| None) })
    },
};

/// The outcome for one dead letter. The names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// `null` where it is about no single one.
    sequence: Option<u64>,
    #[serde(rename = "outcome")]
    became: &'static str,
    /// Where a redriven event is stored now.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Outcome {
    fn new(sequence: Option<u64>, became: &'static str) -> Self {
        Self { sequence, became, stream: None, stream_sequence: None, error: None }
    }

    pub(super) fn redriven(sequence: Option<u64>, receipt: &PublishReceipt) -> Self {
        let (stream, at) = (Some(receipt.stream().to_owned()), Some(receipt.sequence()));
        Self { stream, stream_sequence: at, ..Self::new(sequence, REDRIVE.done) }
    }

    pub(super) fn failed(sequence: Option<u64>, error: String) -> Self {
        Self { error: Some(error), ..Self::new(sequence, "failed") }
    }

    pub(super) fn write(&self, output: &mut Output) -> io::Result<()> {
        let Self { became, error, .. } = self;
        let sequence = self.sequence.map_or_else(String::new, |sequence| format!("{sequence} "));
        output.item(self, || match (error, &self.stream, self.stream_sequence) {
            (Some(error), ..) => format!("{sequence}{became}: {error}"),
            (None, Some(stream), Some(at)) => format!("{sequence}{became} as {stream} {at}"),
            _ => format!("{sequence}{became}"),
        })
    }
}

/// Works through all of it, and returns whether all succeeded. A reader that has gone does not stop it halfway.
pub(super) async fn run(
    dead_letters: &DeadLetters,
    work: &Work,
    chosen: Chosen,
    output: &mut Output,
) -> Result<bool, Failure> {
    let is_plan = !chosen.yes;
    let sequences = matching(dead_letters, chosen).await?;
    // On a terminal only; elsewhere it is silent by itself.
    let target = if is_plan { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let progress = ProgressBar::with_draw_target(u64::try_from(sequences.len()).ok(), target);
    let mut failed: usize = 0;
    for &sequence in &sequences {
        let outcome = if is_plan {
            planned(dead_letters, work, sequence).await
        } else {
            outcome(sequence, work, (work.run)(dead_letters, sequence).await)
        };
        failed += usize::from(outcome.error.is_some());
        progress.suspend(|| outcome.write(output))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let done = sequences.len() - failed;
    let failures = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    complain(&if is_plan {
        format!("{done} {}{failures}; nothing is done without --yes", work.planned)
    } else {
        format!("{done} {}{failures}", work.done)
    });
    Ok(failed == 0)
}

async fn planned(dead_letters: &DeadLetters, work: &Work, sequence: u64) -> Outcome {
    match dead_letters.get(sequence).await {
        Ok(_) => Outcome::new(Some(sequence), work.planned),
        Err(error) => Outcome::failed(Some(sequence), chain(&error)),
    }
}

async fn matching(dead_letters: &DeadLetters, chosen: Chosen) -> Result<Vec<u64>, Failure> {
    let Chosen { sequences, group, filter, all, .. } = chosen;
    if !all && group.is_none() {
        return Ok(sequences);
    }
    let group = match group {
        Some(id) => Some(groups::find(dead_letters, &id).await?),
        None => None,
    };
    let of_library = if all { filter.of_library() } else { DeadLetterFilter::default() };
    let letters = dead_letters.list(of_library).await?;
    let letters = letters.try_filter(|letter| {
        let is_of_group = group.as_ref().is_none_or(|group| group.contains(letter));
        ready(is_of_group && filter.accepts(letter))
    });
    Ok(letters.map_ok(|letter| letter.sequence()).try_collect().await?)
}

fn outcome(sequence: u64, work: &Work, done: Done) -> Outcome {
    match done {
        Ok(Some(receipt)) => Outcome::redriven(Some(sequence), &receipt),
        Ok(None) => Outcome::new(Some(sequence), work.done),
        Err(error) => Outcome::failed(Some(sequence), chain(&error)),
    }
}
