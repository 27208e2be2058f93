//! Redriving and discarding many.

use crate::{
    Failure,
    arguments::Chosen,
    chain, complain,
    output::{Outcome, Output},
};
use futures::{TryStreamExt, future::BoxFuture};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::future::ready;
use stratt_event_bridge::{
    PublishReceipt,
    dead_letter::{DeadLetterError, DeadLetters},
};

type Done = Result<Option<PublishReceipt>, DeadLetterError>;

/// The operation on each dead letter.
pub(crate) struct Work {
    done: &'static str,
    planned: &'static str,
    run: fn(&DeadLetters, u64) -> BoxFuture<'_, Done>,
}

pub(crate) const REDRIVE: Work = Work {
    done: "redriven",
    planned: "would be redriven",
    run: |dead_letters, sequence| Box::pin(async move { dead_letters.redrive(sequence).await.map(Some) }),
};

pub(crate) const DISCARD: Work = Work {
    done: "discarded",
    planned: "would be discarded",
    run: |dead_letters, sequence| {
        Box::pin(async move { dead_letters.discard(sequence).await.map(|()| None) })
    },
};

/// Works through all of it, and returns whether all succeeded. A reader that has gone does not stop it halfway.
pub(crate) async fn run(
    dead_letters: &DeadLetters,
    work: &Work,
    chosen: Chosen,
    output: &mut Output,
) -> Result<bool, Failure> {
    let is_plan = chosen.all && !chosen.yes;
    let sequences = if chosen.all { matching(dead_letters, &chosen).await? } else { chosen.sequences };
    // On a terminal only; elsewhere it is silent by itself.
    let target = if is_plan { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let progress = ProgressBar::with_draw_target(u64::try_from(sequences.len()).ok(), target);
    let mut failed: usize = 0;
    for &sequence in &sequences {
        let outcome = if is_plan {
            Outcome { sequence, became: work.planned, stream: None, stream_sequence: None, error: None }
        } else {
            outcome(sequence, work, (work.run)(dead_letters, sequence).await)
        };
        failed += usize::from(outcome.error.is_some());
        progress.suspend(|| output.outcome(&outcome))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let count = sequences.len();
    complain(&match (is_plan, failed) {
        (true, _) => format!("{count} {}; nothing is done without --yes", work.planned),
        (false, 0) => format!("{count} {}", work.done),
        (false, _) => format!("{} {}, {failed} failed", count - failed, work.done),
    });
    Ok(failed == 0)
}

async fn matching(dead_letters: &DeadLetters, chosen: &Chosen) -> Result<Vec<u64>, DeadLetterError> {
    let letters = dead_letters.list(chosen.filter.of_library()).await?;
    let letters = letters.try_filter(|letter| ready(chosen.filter.accepts(letter)));
    letters.map_ok(|letter| letter.sequence()).try_collect().await
}

fn outcome(sequence: u64, work: &Work, done: Done) -> Outcome {
    let (became, receipt, error) = match done {
        Ok(receipt) => (work.done, receipt, None),
        Err(error) => ("failed", None, Some(chain(&error))),
    };
    let stream = receipt.as_ref().map(|receipt| receipt.stream().to_owned());
    Outcome { sequence, became, stream, stream_sequence: receipt.map(|receipt| receipt.sequence()), error }
}
