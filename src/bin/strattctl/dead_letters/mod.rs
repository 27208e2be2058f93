//! The commands about dead letters.

mod arguments;
mod bulk;
mod groups;
mod letter;

pub(crate) use arguments::{DeadLettersCommand, contradiction};

use crate::{failure::Failure, output::Output};
use arguments::Filter;
use futures::TryStreamExt;
use letter::Shown;
use stratt_event_bridge::dead_letter::DeadLetters;

/// Carries out a command, and returns whether all of it succeeded.
pub(crate) async fn obey(
    dead_letters: &DeadLetters,
    command: DeadLettersCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    match command {
        DeadLettersCommand::Groups(filter) => groups::show(dead_letters, &filter, output).await,
        DeadLettersCommand::List(filter) => list(dead_letters, &filter, output).await,
        DeadLettersCommand::Show { sequence } => {
            let letter = dead_letters.get(sequence).await?;
            let shown = Shown::from(&letter);
            if output.is_json() {
                output.json(&shown)?;
            } else {
                shown.lines().iter().try_for_each(|line| output.line(line))?;
            }
            Ok(true)
        }
        DeadLettersCommand::Redrive { mut chosen, checks, pace } => {
            let dead_letters = dead_letters.clone().with_redrive_options(checks.options());
            chosen.leaves_out_redriven = !pace.again();
            match (chosen.group.clone(), chosen.yes) {
                (Some(id), true) => {
                    let group = groups::find(&dead_letters, &id).await?;
                    let (_, left_out) = bulk::matching(&dead_letters, chosen, Some(&group)).await?;
                    groups::redrive(&dead_letters, &group, &pace, left_out, output).await
                }
                _ => bulk::run(&dead_letters, &bulk::REDRIVE, chosen, output).await,
            }
        }
        DeadLettersCommand::Discard(chosen) => bulk::run(dead_letters, &bulk::DISCARD, chosen, output).await,
    }
}

async fn list(dead_letters: &DeadLetters, filter: &Filter, output: &mut Output) -> Result<bool, Failure> {
    let mut letters = dead_letters.list(filter.of_library()).await?;
    while let Some(letter) = letters.try_next().await? {
        if filter.accepts(&letter) {
            let shown = Shown::from(&letter);
            output.item(&shown, || shown.line())?;
        }
        if output.is_closed() {
            break;
        }
    }
    Ok(true)
}
