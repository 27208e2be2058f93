//! The way of one event, from what the broker and the dedupe store know.

mod builder;
mod error;
mod explanation;
mod place;
mod search;
mod way;

pub use builder::ExplainBuilder;
pub use error::ExplainError;
pub use explanation::Explanation;
pub use place::Place;
pub use way::{SeenSlot, Way};
