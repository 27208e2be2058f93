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
    dead_letter::{DeadLetterError, DeadLetterFilter, DeadLetterGroup, DeadLetters},
};

type Done = Result<Option<PublishReceipt>, DeadLetterError>;

/// The operation on each dead letter.
pub(super) struct Work {
    done: &'static str,
    planned: &'static str,
    /// A remark behind the counts.
    remark: &'static str,
    run: fn(&DeadLetters, u64) -> BoxFuture<'_, Done>,
}

pub(super) const REDRIVE: Work = Work {
    done: "redriven",
    planned: "would be redriven",
    remark: "; whether they are handled now is not awaited, as it is with --group",
    run: |dead_letters, sequence| Box::pin(async move { dead_letters.redrive(sequence).await.map(Some) }),
};

pub(super) const DISCARD: Work = Work {
    done: "discarded",
    planned: "would be discarded",
    remark: "",
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
    let group = match &chosen.group {
        Some(id) => Some(groups::find(dead_letters, id).await?),
        None => None,
    };
    let (sequences, left_out) = matching(dead_letters, chosen, group.as_ref()).await?;
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
        format!("{done} {}{failures}{}; nothing is done without --yes", work.planned, said(left_out))
    } else {
        let remark = if done == 0 { "" } else { work.remark };
        format!("{done} {}{failures}{remark}", work.done)
    });
    Ok(failed == 0)
}

/// Returns what is said of those that a redrive of a group leaves out.
pub(super) fn said(left_out: usize) -> String {
    match left_out {
        0 => String::new(),
        left_out => format!(", {left_out} left out that failed again after a redrive: add --again"),
    }
}

async fn planned(dead_letters: &DeadLetters, work: &Work, sequence: u64) -> Outcome {
    match dead_letters.get(sequence).await {
        Ok(_) => Outcome::new(Some(sequence), work.planned),
        Err(error) => Outcome::failed(Some(sequence), chain(&error)),
    }
}

/// Returns the sequences of those that match, and how many of a group are left out.
pub(super) async fn matching(
    dead_letters: &DeadLetters,
    chosen: Chosen,
    group: Option<&DeadLetterGroup>,
) -> Result<(Vec<u64>, usize), Failure> {
    let Chosen { sequences, filter, all, leaves_out_redriven, .. } = chosen;
    if !all && group.is_none() {
        return Ok((sequences, 0));
    }
    let of_library = if all { filter.of_library() } else { DeadLetterFilter::default() };
    let letters = dead_letters.list(of_library).await?;
    let (mut matching, mut left_out) = (Vec::new(), 0);
    let mut letters = letters.try_filter(|letter| {
        let is_of_group = group.is_none_or(|group| group.contains(letter));
        ready(is_of_group && filter.accepts(letter))
    });
    while let Some(letter) = letters.try_next().await? {
        if group.is_some() && leaves_out_redriven && letter.is_redriven() {
            left_out += 1;
        } else {
            matching.push(letter.sequence());
        }
    }
    Ok((matching, left_out))
}

fn outcome(sequence: u64, work: &Work, done: Done) -> Outcome {
    match done {
        Ok(Some(receipt)) => Outcome::redriven(Some(sequence), &receipt),
        Ok(None) => Outcome::new(Some(sequence), work.done),
        Err(error) => Outcome::failed(Some(sequence), chain(&error)),
    }
}
