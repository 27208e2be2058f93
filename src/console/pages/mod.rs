//! The pages, each in a file of its own.

pub(super) mod audit;
pub(super) mod durable;
pub(super) mod group;
pub(super) mod groups;
pub(super) mod layout;
pub(super) mod letter;
mod live_rows;
pub(super) mod overview;
pub(super) mod payload;
pub(super) mod progress;
pub(super) mod tail;

use crate::{
    Feed,
    console::{refusal::Refusal, state::Console},
    dead_letter::{DeadLetterFilter, DeadLetterGroup},
};

/// Returns the feed of a path or a query: `strat` or `choco`.
pub(super) fn feed(text: &str) -> Result<Feed, Refusal> {
    match text {
        "strat" => Ok(Feed::Strat),
        "choco" => Ok(Feed::Choco),
        _ => Err(Refusal::wrong_input("feed must be strat or choco")),
    }
}

/// Returns a feed as paths name it.
pub(super) fn feed_name(feed: Feed) -> &'static str {
    match feed {
        Feed::Strat => "strat",
        Feed::Choco => "choco",
    }
}

/// Returns the sequence of a path.
pub(super) fn sequence(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::wrong_input("sequence must be a number"))
}

/// Returns the group with this id; `None` if it has no dead letters any more.
pub(super) async fn find_group(console: &Console, id: &str) -> Result<Option<DeadLetterGroup>, Refusal> {
    let groups = console.bridge.dead_letters().groups(DeadLetterFilter::default()).await?;
    Ok(groups.into_iter().find(|group| group.id() == id))
}
