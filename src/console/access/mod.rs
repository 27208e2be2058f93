//! The door of the console: who comes in, what they may do, and what every answer says to the browser.

mod gate;
mod headers;
mod same_origin;
mod visit;
mod visitor;

pub(super) use gate::gate;
pub(super) use visit::Visit;
pub use visitor::{Access, Visitor};
