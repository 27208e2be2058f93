//! The command line.

use crate::connect;
use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use stratt_event_bridge::{
    ConsumerName, Domain, EventType,
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterReason, RedriveOptions},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const CODES: &str = "\
Ends with 0 when all is done, 1 when something failed, 2 when it was asked wrongly, 3 when there is no broker.";

/// Lists, shows, redrives and discards dead letters of the STRATT event bridge.
///
#[derive(Debug, Parser)]
#[command(name = "dead_letters", after_help = format!("{}\n\n{CODES}", connect::VARIABLES))]
pub(crate) struct Arguments {
    /// Write one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line; ends the program with 2 when it makes no sense.
    pub(crate) fn read() -> Self {
        let arguments = Self::parse();
        if let Command::Redrive { chosen, .. } | Command::Discard(chosen) = &arguments.command
            && !chosen.all
            && (chosen.yes || chosen.filter != Filter::default())
        {
            Self::command().error(ErrorKind::ArgumentConflict, "filters and --yes belong to --all").exit();
        }
        arguments
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List those that match, oldest first
    List(Filter),
    /// Show one with its headers and bytes
    Show { sequence: u64 },
    /// Publish the events again, for the consumer that failed, and remove their dead letters
    Redrive {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        checks: Checks,
    },
    /// Remove dead letters for good
    Discard(Chosen),
}

/// Those that are named, or all that match.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// Sequences, as `list` shows them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) sequences: Vec<u64>,
    /// All that match the filters; only says what it would do, without --yes
    #[arg(long)]
    pub(crate) all: bool,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// The checks of a redrive that are left out.
#[derive(Debug, Args)]
pub(crate) struct Checks {
    /// Also where newer events of the same unit were stored since
    #[arg(long)]
    older_than_newest: bool,
    /// Also where it is not known that the consumer would receive it
    #[arg(long)]
    unchecked_consumer: bool,
}

impl Checks {
    pub(crate) fn options(&self) -> RedriveOptions {
        RedriveOptions::default()
            .with_older_than_newest(self.older_than_newest)
            .with_unchecked_consumer(self.unchecked_consumer)
    }
}

/// Which dead letters are meant: those that match everything that is set.
#[derive(Debug, Args, Default, PartialEq)]
pub(crate) struct Filter {
    /// Dead letters of this consumer
    #[arg(long)]
    consumer: Option<ConsumerName>,
    /// Dead letters of this domain
    #[arg(long)]
    domain: Option<Domain>,
    /// Dead letters of this event type, such as unit.published
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// exhausted, rejected or invalid
    #[arg(long)]
    reason: Option<DeadLetterReason>,
    /// Dead-lettered before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<OffsetDateTime>,
    /// Dead-lettered at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    after: Option<OffsetDateTime>,
}

impl Filter {
    /// Returns the part of the filter that the library applies.
    pub(crate) fn of_library(&self) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::default();
        if let Some(consumer) = &self.consumer {
            filter = filter.with_consumer(consumer.clone());
        }
        if let Some(domain) = &self.domain {
            filter = filter.with_domain(domain.clone());
        }
        if let Some(event_type) = self.event_type {
            filter = filter.with_event_type(event_type);
        }
        if let Some(reason) = self.reason {
            filter = filter.with_reason(reason);
        }
        filter
    }

    /// Applies the rest: a record without a time is neither before nor after any.
    pub(crate) fn accepts(&self, letter: &DeadLetter) -> bool {
        let time = letter.time();
        self.before.is_none_or(|before| time.is_some_and(|time| time < before))
            && self.after.is_none_or(|after| time.is_some_and(|time| time >= after))
    }
}

fn time(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}
