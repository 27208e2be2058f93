//! Dead letters on the command line: list, show, redrive, discard.
//!
//! ```sh
//! cargo run -p examples --example dead_letters -- list --reason exhausted
//! cargo run -p examples --example dead_letters -- show 17
//! cargo run -p examples --example dead_letters -- redrive 17 18
//! cargo run -p examples --example dead_letters -- redrive --all --consumer choco-catalogue  # lists what it would do
//! cargo run -p examples --example dead_letters -- redrive --all --consumer choco-catalogue --yes  # does it
//! ```
//!
//! `--json` writes one object a line. Connects by the variables that the command `nats` reads, which `--help`
//! lists; the user `desk` of the example `permissions` may do all of it. Ends with 0 when all is done, 1 when
//! something of it failed, 2 when it was asked wrongly, and 3 when there is no broker.

mod arguments;
mod bulk;
mod letter;
mod output;
mod text;

#[path = "../support/connect.rs"]
mod connect;

use arguments::{Arguments, Command, Filter};
use futures::TryStreamExt;
use output::Output;
use std::{error::Error, fmt::Write, process::ExitCode};
use stratt_event_bridge::{
    ConnectionWatch, EventBridge, Source,
    async_nats::ConnectOptions,
    dead_letter::{DeadLetterError, DeadLetterErrorKind, DeadLetters},
};

type Failure = Box<dyn Error + Send + Sync>;

const SOME_FAILED: u8 = 1;
const NO_BROKER: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read();
    let dead_letters = match connected().await {
        Ok(dead_letters) => dead_letters,
        Err(error) => {
            complain(&chain(&*error));
            return NO_BROKER.into();
        }
    };
    let mut output = Output::new(arguments.json);
    match obey(&dead_letters, arguments.command, &mut output).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => SOME_FAILED.into(),
        Err(error) => {
            complain(&chain(&*error));
            let kind = error.downcast_ref::<DeadLetterError>().map(DeadLetterError::kind);
            if kind == Some(DeadLetterErrorKind::Unavailable) { NO_BROKER } else { SOME_FAILED }.into()
        }
    }
}

async fn connected() -> Result<DeadLetters, Failure> {
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::new().name("dead-letters").event_callback(watch.callback());
    let client = connect::connect(&connect::servers_or("nats://127.0.0.1:4222")?, options).await?;
    let source: Source = "dead-letters:tool:0.1.0".parse()?;
    let bridge = EventBridge::with_options(client, source, connect::bridge_options()?);
    Ok(bridge.with_connection_watch(watch).dead_letters())
}

/// Carries out a command, and returns whether all of it succeeded.
async fn obey(dead_letters: &DeadLetters, command: Command, output: &mut Output) -> Result<bool, Failure> {
    match command {
        Command::List(filter) => list(dead_letters, &filter, output).await.map(|()| true),
        Command::Show { sequence } => {
            let letter = dead_letters.get(sequence).await?;
            output.show(&letter)?;
            Ok(true)
        }
        Command::Redrive { chosen, checks } => {
            let dead_letters = dead_letters.clone().with_redrive_options(checks.options());
            bulk::run(&dead_letters, &bulk::REDRIVE, chosen, output).await
        }
        Command::Discard(chosen) => bulk::run(dead_letters, &bulk::DISCARD, chosen, output).await,
    }
}

async fn list(dead_letters: &DeadLetters, filter: &Filter, output: &mut Output) -> Result<(), Failure> {
    let mut letters = dead_letters.list(filter.of_library()).await?;
    while let Some(letter) = letters.try_next().await? {
        if filter.accepts(&letter) {
            output.list(&letter)?;
        }
        if output.is_closed() {
            break;
        }
    }
    Ok(())
}

/// Returns an error with its causes, on one line. Parts of it may be quoted from messages.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _written = write!(line, ": {error}");
        cause = error.source();
    }
    text::escaped(&line)
}

#[allow(clippy::print_stderr, reason = "a command complains there")]
fn complain(line: &str) {
    eprintln!("dead_letters: {line}");
}
