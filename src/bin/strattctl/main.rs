//! `strattctl`: the operators' tool of the STRATT event bridge.
//!
//! ```sh
//! cargo install stratt-event-bridge --features cli
//! strattctl status
//! strattctl dead-letters redrive --all --consumer choco-catalogue        # says what it would do
//! strattctl dead-letters redrive --all --consumer choco-catalogue --yes  # does it
//! ```
//!
//! `--json` writes one object a line. Connects by the variables that the command `nats` reads, which `--help` lists.

mod arguments;
mod connect;
mod console;
mod consumer;
mod contract;
mod dead_letters;
mod explain;
mod failure;
#[path = "../../console/hostile.rs"]
mod hostile;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod outbox;
mod output;
mod permissions;
mod status;
mod streams;
mod tail;
mod text;

use arguments::{Arguments, Command};
use clap::CommandFactory;
use failure::{Failure, SOME_FAILED, complain};
use output::Output;
use std::{io, process::ExitCode};
use stratt_event_bridge::{ConnectionWatch, EventBridge, async_nats::ConnectOptions};

const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { json, command } = Arguments::read();
    let mut output = Output::new(json);
    match obey(command, &mut output).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => SOME_FAILED.into(),
        Err(failure) => {
            complain(&failure.to_string());
            failure.code().into()
        }
    }
}

/// Carries out a command, and returns whether all of it succeeded.
async fn obey(command: Command, output: &mut Output) -> Result<bool, Failure> {
    match command {
        Command::Permissions { format } => permissions::print(format, output).map(|()| true),
        Command::Contract(command) => contract::write_to(&command.folder).map(|()| true),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "strattctl", &mut script);
            output.raw(&script)?;
            Ok(true)
        }
        Command::Status => status::show(&connected().await?, output).await,
        Command::Tail(command) => tail::follow(&connected().await?, &command, output).await,
        Command::Explain(command) => explain::explain(&connected().await?, command, output).await,
        Command::DeadLetters { command } => {
            dead_letters::obey(&connected().await?.dead_letters(), command, output).await
        }
        Command::Consumer { command } => {
            consumer::obey(&connected().await?.durables(), &command, output).await
        }
        Command::Console(command) => console::serve(connected().await?, &command, output).await,
        Command::Provision { topology, render: Some(rendering), .. } => {
            streams::render(&topology, rendering, output).map(|()| true)
        }
        Command::Provision { topology, yes, render: None } => {
            streams::provision(&connected().await?, &topology, yes, output).await
        }
        Command::Verify { topology } => streams::verify(&connected().await?, &topology, output).await,
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        Command::Outbox(arguments) => outbox::obey(arguments, output).await,
        Command::Heal { yes } => streams::heal(&connected().await?, yes, output).await,
    }
}

/// Connects as the environment says.
async fn connected() -> Result<EventBridge, Failure> {
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::new().name("strattctl").event_callback(watch.callback());
    let servers = connect::servers_or(DEFAULT_SERVER).map_err(Failure::no_broker)?;
    let client = connect::connect(&servers, options).await.map_err(Failure::no_broker)?;
    let source = concat!("strattctl:tool:", env!("CARGO_PKG_VERSION")).parse().map_err(io::Error::other)?;
    let options = connect::bridge_options().map_err(Failure::no_broker)?;
    Ok(EventBridge::with_options(client, source, options).with_connection_watch(watch))
}
