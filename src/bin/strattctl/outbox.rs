//! The outbox of a service, in its database.

use crate::{
    connect,
    failure::{Failure, complain},
    output::Output,
    text::rfc3339,
};
use clap::{Args, Subcommand};
use serde_json::json;
use sqlx::Database;
use stratt_event_bridge::{
    TableName,
    outbox::{OutboxError, OutboxErrorKind, OutboxOptions, OutboxStatus, QuarantinedEvent, SqlOutbox},
};

/// The variable with the URL of the database: as an argument, its password would be in the list of processes.
const URL: &str = "DATABASE_URL";
/// The most events that are listed or changed at once.
const MOST: u32 = 1000;

#[derive(Debug, Args)]
pub(crate) struct OutboxArguments {
    /// Table of the outbox
    #[arg(long, default_value = "stratt_outbox", global = true)]
    table: TableName,
    #[command(subcommand)]
    command: OutboxCommand,
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Count pending and quarantined events
    Status,
    /// List quarantined events, oldest first
    List,
    /// Publish quarantined events after all, once the cause is mended
    Retry(Chosen),
    /// Remove quarantined events for good: they are never announced
    Drop(Chosen),
}

#[derive(Debug, Args)]
#[group(required = true)]
struct Chosen {
    /// Ids, as `outbox list` shows them
    #[arg(conflicts_with = "all")]
    ids: Vec<i64>,
    /// All that are quarantined now
    #[arg(long)]
    all: bool,
    /// Do it; without, only show them
    #[arg(long, group = "confirmed")]
    yes: bool,
}

/// Connects to the database that `DATABASE_URL` names, and obeys. Returns whether all is well.
pub(crate) async fn obey(arguments: OutboxArguments, output: &mut Output) -> Result<bool, Failure> {
    let OutboxArguments { table, command } = arguments;
    let url = connect::variable(URL).map_err(Failure::no_broker)?;
    let url =
        url.ok_or_else(|| Failure::wrong_usage(format!("{URL} is not set: the database of the outbox")))?;
    let options = OutboxOptions::default().with_table(table);
    match url.split(':').next() {
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => {
            let pool = sqlx::PgPool::connect(&url).await.map_err(no_database)?;
            obey_on(&stratt_event_bridge::outbox::PostgresOutbox::new(pool, options), command, output).await
        }
        #[cfg(feature = "sqlite")]
        Some("sqlite") => {
            let pool = sqlx::SqlitePool::connect(&url).await.map_err(no_database)?;
            obey_on(&stratt_event_bridge::outbox::SqliteOutbox::new(pool, options), command, output).await
        }
        _ => Err(Failure::wrong_usage(format!("{URL} names a database that this tool was not built for"))),
    }
}

fn no_database(error: sqlx::Error) -> Failure {
    Failure::no_broker(error)
}

async fn obey_on<D: Database>(
    outbox: &SqlOutbox<D>,
    command: OutboxCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    match command {
        OutboxCommand::Status => {
            let status = outbox.status().await?;
            write_status(&status, output)?;
            Ok(status.quarantined == 0)
        }
        OutboxCommand::List => {
            let found = outbox.quarantined(MOST).await?;
            found.iter().try_for_each(|event| write(event, output))?;
            Ok(found.is_empty())
        }
        OutboxCommand::Retry(chosen) => {
            let Some(ids) = chosen.ids(outbox, output).await? else { return Ok(true) };
            let (asked, done) = (ids.len(), outbox.retry_quarantined(ids).await?);
            Ok(report("pending again", asked, done))
        }
        OutboxCommand::Drop(chosen) => {
            let Some(ids) = chosen.ids(outbox, output).await? else { return Ok(true) };
            let (asked, done) = (ids.len(), outbox.drop_quarantined(ids).await?);
            Ok(report("removed", asked, done))
        }
    }
}

impl Chosen {
    /// Returns the ids; `None` if it is not confirmed, and they were only shown.
    async fn ids<D: Database>(
        self,
        outbox: &SqlOutbox<D>,
        output: &mut Output,
    ) -> Result<Option<Vec<i64>>, Failure> {
        let Self { mut ids, all, yes } = self;
        if all || !yes {
            let found = outbox.quarantined(MOST).await?;
            let chosen: Vec<_> = found.iter().filter(|event| all || ids.contains(&event.id)).collect();
            if !yes {
                chosen.into_iter().try_for_each(|event| write(event, output))?;
                complain("nothing is done without --yes");
                return Ok(None);
            }
            ids = chosen.into_iter().map(|event| event.id).collect();
        }
        Ok(Some(ids))
    }
}

/// Tells how many were changed, and returns whether all were.
fn report(what: &str, asked: usize, done: u64) -> bool {
    let asked = u64::try_from(asked).unwrap_or(u64::MAX);
    let left = asked.saturating_sub(done);
    complain(&match left {
        0 => format!("{done} {what}"),
        left => format!("{done} {what}; {left} are not quarantined"),
    });
    left == 0
}

fn write_status(status: &OutboxStatus, output: &mut Output) -> Result<(), Failure> {
    let OutboxStatus { pending, oldest_pending, quarantined, .. } = *status;
    let oldest = oldest_pending.map(|age| age.as_secs());
    let json = json!({ "pending": pending, "oldestPendingSeconds": oldest, "quarantined": quarantined });
    let oldest = oldest.map_or_else(String::new, |age| format!(", the oldest for {age} s"));
    Ok(output.item(&json, || format!("outbox      {pending} pending{oldest}; {quarantined} quarantined"))?)
}

fn write(event: &QuarantinedEvent, output: &mut Output) -> Result<(), Failure> {
    let QuarantinedEvent { id, uri, subject, message_id, error, quarantined_at, .. } = event;
    let time = rfc3339(*quarantined_at);
    let json = json!({
        "id": id, "uri": uri, "subject": subject, "messageId": message_id, "error": error, "time": time,
    });
    Ok(output.item(&json, || format!("{id} {} {subject} {uri}: {error}", time.as_deref().unwrap_or("-")))?)
}

impl From<OutboxError> for Failure {
    fn from(error: OutboxError) -> Self {
        if error.kind() == OutboxErrorKind::Unavailable { Self::no_broker(error) } else { Self::new(error) }
    }
}
