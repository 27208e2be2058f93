//! The command line.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::outbox::OutboxArguments;
use crate::{
    connect,
    console::ConsoleCommand,
    consumer::ConsumerCommand,
    contract::ContractCommand,
    dead_letters::{self, DeadLettersCommand},
    explain::ExplainCommand,
    permissions::Format,
    streams::{Rendering, TopologyArguments},
    tail::TailCommand,
};
use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use stratt_event_bridge::Feed;

const CODES: &str = "\
Ends with 0 when all is done and well, 1 when something failed or is not as it should be, 2 when it was asked wrongly,
3 when there is no broker.";

/// Shows and repairs the STRATT event bridge
#[derive(Debug, Parser)]
#[command(name = "strattctl", version, after_help = format!("{}\n\n{CODES}", connect::VARIABLES))]
pub(crate) struct Arguments {
    /// Write one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the connection, the streams, forwarding to Choco, and every durable; 1 is the exit code if a stream is
    /// missing, forwarding is stalled, or `CHOCO_STRATT` is full
    Status,
    /// Print events as they are stored
    Tail(TailCommand),
    /// Tell what became of one event
    Explain(ExplainCommand),
    /// List, show, redrive and discard events that failed for good
    DeadLetters {
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// Pause, resume and replay durables
    Consumer {
        #[command(subcommand)]
        command: ConsumerCommand,
    },
    /// Serve pages that show streams, durables and dead letters to a browser on this machine
    Console(ConsoleCommand),
    /// Create the streams, or change what differs from the settings; only says what differs, without --yes
    Provision {
        #[command(flatten)]
        topology: TopologyArguments,
        /// Do it
        #[arg(long)]
        yes: bool,
        /// Write the streams down instead, for other tools; needs no broker
        #[arg(long, value_name = "FORM", conflicts_with = "yes")]
        render: Option<Rendering>,
    },
    /// Say what of the streams differs from the settings
    Verify {
        #[command(flatten)]
        topology: TopologyArguments,
    },
    /// Let another server lead `CHOCO_STRATT`, so that stalled forwarding starts again
    Heal {
        /// Do it; without, only say whether forwarding is stalled
        #[arg(long)]
        yes: bool,
    },
    /// Count, list, retry and drop the events of an outbox that were quarantined; `DATABASE_URL` names its database
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    Outbox(OutboxArguments),
    /// Print the users of a typical set-up with their permissions
    Permissions {
        /// The form in which the server is given them
        #[arg(long, value_enum, default_value_t = Format::Server)]
        format: Format,
    },
    /// Write the wire contract for other languages: JSON Schemas and an `AsyncAPI` document
    Contract(ContractCommand),
    /// Print the completions for a shell
    Completions { shell: clap_complete::Shell },
}

impl Arguments {
    /// Reads the command line; ends the program with 2 when it makes no sense.
    pub(crate) fn read() -> Self {
        let arguments = Self::parse();
        if let Command::DeadLetters { command } = &arguments.command
            && let Some(why) = dead_letters::contradiction(command)
        {
            Self::command().error(ErrorKind::ArgumentConflict, why).exit();
        }
        arguments
    }
}

/// Reads a feed by the name of its stream, or by its short name.
pub(crate) fn feed(text: &str) -> Result<Feed, String> {
    match text {
        "strat" => Ok(Feed::Strat),
        "choco" => Ok(Feed::Choco),
        _ => text.parse().map_err(|_| "must be strat or choco".to_owned()),
    }
}
