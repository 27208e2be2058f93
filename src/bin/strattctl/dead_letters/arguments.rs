//! The arguments of the commands about dead letters.

use crate::text::{duration, time};
use clap::{Args, Subcommand};
use std::time::Duration;
use stratt_event_bridge::{
    ConsumerName, Domain, EventType,
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterReason, GroupRedriveOptions, RedriveOptions},
};
use time::OffsetDateTime;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Show them in groups of one cause, the largest first
    Groups(Filter),
    /// List those that match, oldest first
    List(Filter),
    /// Show one with its headers and bytes
    Show { sequence: u64 },
    /// Publish the events again, for the consumer that failed, and remove their dead letters; only says what it would
    /// do, without --yes
    Redrive {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        checks: Checks,
        #[command(flatten)]
        pace: Pace,
    },
    /// Remove dead letters for good; only says what it would do, without --yes
    Discard(Chosen),
}

/// Returns why the arguments contradict each other, as far as clap does not see it.
pub(crate) fn contradiction(command: &DeadLettersCommand) -> Option<&'static str> {
    let (chosen, has_pace) = match command {
        DeadLettersCommand::Redrive { chosen, pace, .. } => (chosen, *pace != Pace::default()),
        DeadLettersCommand::Discard(chosen) => (chosen, false),
        DeadLettersCommand::Groups(filter) if filter.has_times() => {
            return Some("groups have no --before and --after: use list");
        }
        _ => return None,
    };
    if !chosen.all && chosen.filter != Filter::default() {
        return Some("filters belong to --all");
    }
    (chosen.group.is_none() && has_pace).then_some("a pace belongs to --group")
}

/// Those that are named, those of a group, or all that match.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// Sequences, as `list` shows them
    #[arg(required_unless_present_any = ["all", "group"], conflicts_with_all = ["all", "group"])]
    pub(super) sequences: Vec<u64>,
    /// All that match the filters
    #[arg(long, conflicts_with = "group")]
    pub(super) all: bool,
    /// All of this group, as `groups` shows them; a redrive begins with the oldest, and goes on once it is handled
    #[arg(long, value_name = "ID")]
    pub(super) group: Option<String>,
    /// Do it
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Those of a group that were redriven before are left out.
    #[arg(skip)]
    pub(super) leaves_out_redriven: bool,
}

/// The pace of the redrive of a group.
#[derive(Debug, Args, Default, PartialEq)]
pub(crate) struct Pace {
    /// With --group: the least time between two redrives, such as 20ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    interval: Option<Duration>,
    /// With --group: how long the first event may take until it is handled; 60s by default
    #[arg(long, value_name = "TIME", value_parser = duration)]
    canary_wait: Option<Duration>,
    /// With --group: stop when more than this share of the redriven events fail again; 10 by default
    #[arg(long, value_name = "PERCENT")]
    most_failed: Option<u8>,
    /// With --group: also those that were redriven before
    #[arg(long)]
    again: bool,
}

impl Pace {
    pub(super) fn again(&self) -> bool {
        self.again
    }

    pub(super) fn options(&self) -> GroupRedriveOptions {
        let mut options = GroupRedriveOptions::default().with_redriven(self.again);
        if let Some(interval) = self.interval {
            options = options.with_interval(interval);
        }
        if let Some(wait) = self.canary_wait {
            options = options.with_canary_wait(wait);
        }
        if let Some(percent) = self.most_failed {
            options = options.with_most_failed(percent);
        }
        options
    }
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
    pub(super) fn options(&self) -> RedriveOptions {
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
    /// Returns whether it has a part that the library does not apply.
    pub(super) fn has_times(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }

    /// Returns the part of the filter that the library applies.
    pub(super) fn of_library(&self) -> DeadLetterFilter {
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
    pub(super) fn accepts(&self, letter: &DeadLetter) -> bool {
        let time = letter.time();
        self.before.is_none_or(|before| time.is_some_and(|time| time < before))
            && self.after.is_none_or(|after| time.is_some_and(|time| time >= after))
    }
}
